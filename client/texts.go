package client

import (
	"sync"

	"github.com/go-json-experiment/json/jsontext"

	"m365_defender_exporter/internal/incident"
)

// texts remembers the values of enums and labels, so that repeating them
// costs nothing. It is safe for concurrent use.
type texts struct {
	mu   sync.Mutex
	seen map[string]*text
}

// text is one value, and the label values that were made of it. They are the
// expensive part, and made when they are first asked for.
type text struct {
	plain  string
	labels [numLabelKinds]string
}

type labelKind uint8

const (
	sourceLabel labelKind = iota
	categoryLabel
	numLabelKinds
)

// The bounds of what is remembered. Past maxTexts everything is forgotten,
// which costs a moment and nothing else.
const (
	maxTexts    = 4096
	maxTextSize = 128
)

// text reads a string; a value of any other type reads as empty.
func (t *texts) text(dec *jsontext.Decoder) (string, error) {
	v, err := t.read(dec)
	return v.plain, err
}

// label reads a string as a label value.
func (t *texts) label(dec *jsontext.Decoder, kind labelKind) (string, error) {
	v, err := t.read(dec)
	if err != nil {
		return "", err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if v.labels[kind] == "" {
		of := incident.Label
		if kind == sourceLabel {
			of = incident.ServiceSource
		}
		v.labels[kind] = of(v.plain)
	}
	return v.labels[kind], nil
}

func (t *texts) read(dec *jsontext.Decoder) (*text, error) {
	if dec.PeekKind() != '"' {
		return &text{}, dec.SkipValue()
	}
	raw, err := dec.ReadValue()
	if err != nil {
		return &text{}, err
	}
	if len(raw) > maxTextSize {
		return &text{plain: unquote(raw)}, nil
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if v, ok := t.seen[string(raw)]; ok {
		return v, nil
	}
	if t.seen == nil || len(t.seen) >= maxTexts {
		t.seen = make(map[string]*text)
	}
	v := &text{plain: unquote(raw)}
	t.seen[string(raw)] = v
	return v, nil
}

// unquote returns the beginning of a text. What is wrong with it, and all that
// can be is invalid UTF-8, is replaced.
func unquote(raw jsontext.Value) string {
	const limit = 256 // bytes; labels and names are shorter
	plain, _ := jsontext.AppendUnquote(nil, raw[:min(len(raw), limit)])
	return string(plain)
}
