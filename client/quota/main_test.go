package quota

import (
	"testing"

	"m365_defender_exporter/internal/testmain"
)

func TestMain(m *testing.M) { testmain.Run(m) }
