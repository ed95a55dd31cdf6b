package simulator

import (
	"strings"
	"time"
)

// graphPath is where Microsoft Graph has the incidents.
const graphPath = "/v1.0/security/incidents"

// answerGraph answers all calls of the Graph flavour, which share a limit. The
// path is what follows graphPath.
func (t *Tenant) answerGraph(c *call, now time.Time, path string) reply {
	c.graph = true
	t.meter.GraphCalls++
	t.meter.graph.received(now, t.opts.GraphLimits)
	operation, right := t.operation(c, now, path)
	return t.answerAPI(c, now, operation, right, &t.meter.graph, t.opts.GraphLimits)
}

func prefers(c *call) bool { return strings.Contains(c.prefer, "include-unknown-enum-members") }
