package simulator

// wireTimeNoZone is how some timestamps were seen: UTC, but they do not say so.
const wireTimeNoZone = "2006-01-02T15:04:05.9999999"

// appendOdd writes a row in one of the shapes that Faults.OddRows promises,
// chosen by its id. Each touches only what nobody counts in such a row: of a
// redirected one nothing but itself, of an open one no verdict.
func appendOdd(b []byte, r *Record, middle bool) []byte {
	b = append(b, '{')
	b = appendIncident(b, r, oddShape(r))
	b = append(b, '}')
	if middle {
		ghost := r.clone()
		ghost.Status, ghost.Severity = active, "High"
		b = append(b, `,"this row is not an incident",{`...)
		b = appendIncident(b, &ghost, shape{noID: true})
		b = append(b, '}')
	}
	return b
}

func oddShape(r *Record) shape {
	var shapes []shape
	switch {
	case r.Status == redirected:
		shapes = []shape{
			{noAlerts: true}, {alerts: "null"}, {alerts: `{}`},
			{created: `"2026-13-45T99:00:00Z"`}, {severity: `"Catastrophic"`},
		}
	case r.isOpen():
		shapes = []shape{
			{classification: `"NotYetInvented"`}, {updatedAs: wireTimeNoZone},
			{name: "\"Zero\u200bwidth\ufeff incident\""}, {entity: `{"entityType":"QuantumMailbox","spin":[0.5,null]}`},
		}
	default:
		shapes = []shape{{tags: `[{"tag":"odd","order":1}]`}, {updatedAs: wireTimeNoZone}, {comments: "null"}}
	}
	return shapes[r.ID%int64(len(shapes))]
}
