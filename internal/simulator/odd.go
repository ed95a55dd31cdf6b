package simulator

// wireTimeNoZone is how some timestamps were seen: UTC, but they do not say so.
const wireTimeNoZone = "2006-01-02T15:04:05.9999999"

// oddShape is one of the shapes that Faults.OddRows promises, chosen by the
// incident's id. Each touches only what nobody counts in such a row: of a
// redirected one nothing but itself, of an open one no verdict.
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
