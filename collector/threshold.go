package collector

import (
	"strconv"
	"time"
)

// Threshold writes a duration as the label value people compare with: whole
// hours where it is one (24h, 720h), else minutes or seconds.
func Threshold(d time.Duration) string {
	switch {
	case d%time.Hour == 0:
		return strconv.FormatInt(int64(d/time.Hour), 10) + "h"
	case d%time.Minute == 0:
		return strconv.FormatInt(int64(d/time.Minute), 10) + "m"
	}
	return strconv.FormatFloat(d.Seconds(), 'f', -1, 64) + "s"
}
