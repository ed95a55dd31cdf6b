package preflight

import (
	"fmt"
	"io"
)

// stepNames are the steps as a person reads them.
var stepNames = map[string]string{
	"configuration": "configuration",
	"login_host":    "login host",
	"api_host":      "API host",
	"token":         "token",
	"permission":    "permission",
	"list":          "list call",
	"quota":         "quota",
	"estimate":      "estimate",
	"choice":        "choice",
}

var stepMarks = map[Status]string{OK: "ok", Failed: "FAIL", Skipped: "-"}

// writeResult writes the result of one tenant for people.
func writeResult(w io.Writer, c *Result) {
	_, _ = fmt.Fprintf(w, "%s (%s API, %s cloud)\n", c.Tenant, c.API, c.Cloud)
	for _, s := range c.Steps {
		_, _ = fmt.Fprintf(w, "  %-4s  %-13s  %s\n", stepMarks[s.Status], stepNames[s.Step], s.Detail)
		if s.Hint != "" {
			_, _ = fmt.Fprintf(w, "        %-13s  → %s\n", "", s.Hint)
		}
	}
	verdict := "ready"
	if !c.OK {
		verdict = "NOT ready"
	}
	_, _ = fmt.Fprintf(w, "%s: %s. API calls made: %d\n\n", c.Tenant, verdict, c.APICalls)
}
