package client

import (
	"sync"

	"github.com/go-json-experiment/json/jsontext"

	"m365_defender_exporter/internal/incident"
)

// texts interns the values of enums and labels, so that repeating them costs
// nothing. It is safe for concurrent use.
type texts struct {
	mu   sync.Mutex
	seen map[string]*text
}

// text is one value, and the label values that are made of it.
type text struct{ plain, source, category string }

// The bounds of what is interned. Past maxTexts everything is forgotten, which
// costs a moment and nothing else. Longer texts, in bytes, are no enums.
const (
	maxTexts    = 4096
	maxTextSize = 128
)

// of is the text of a JSON value that has been read; nil and numbers read as
// empty.
func (t *texts) of(raw jsontext.Value) *text {
	if len(raw) > maxTextSize {
		return newText(raw)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if v, ok := t.seen[string(raw)]; ok {
		return v
	}
	if t.seen == nil || len(t.seen) >= maxTexts {
		t.seen = make(map[string]*text)
	}
	v := newText(raw)
	t.seen[string(raw)] = v
	return v
}

func newText(raw jsontext.Value) *text {
	plain := unquote(raw)
	return &text{plain, incident.ServiceSource(plain), incident.Label(plain)}
}

// unquote returns the beginning of a text. What is wrong with it, and all that
// can be is invalid UTF-8, is replaced.
func unquote(raw jsontext.Value) string {
	const limit = 256 // bytes; labels and names are shorter
	plain, _ := jsontext.AppendUnquote(nil, raw[:min(len(raw), limit)])
	return string(plain)
}
