package fleet

import (
	"testing"
	"time"
)

// TestRemovedIsForgotten: an hour after it was removed, nothing is left in
// memory of a tenant; until then it may be added again.
func TestRemovedIsForgotten(t *testing.T) {
	inFleet(t, func(f *many) {
		f.replace(f.Tenant("a"), f.Tenant("b"))
		f.wait(2 * time.Minute)
		f.replace(f.Tenant("b"))
		f.wait(59 * time.Minute)
		f.replace(f.Tenant("a"), f.Tenant("b"))
		if f.of("a").Status(time.Now()).Open == nil {
			t.Error("what was known is gone before the hour is over")
		}
		f.replace(f.Tenant("b"))
		f.wait(61 * time.Minute)
		f.replace(f.Tenant("a"), f.Tenant("b"))
		if f.of("a").Status(time.Now()).Open != nil {
			t.Error("what was known is still there")
		}
	})
}
