package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/parser"
	"github.com/moby/buildkit/frontend/dockerfile/shell"
)

// description is what the last stage of a Dockerfile says of an image, but for
// its base.
type description struct {
	config v1.Config
	files  []file
}

// inputs is what a Dockerfile is built with.
type inputs struct {
	checkout fs.FS             // what COPY finds
	built    map[string][]byte // what COPY --from finds, by path; nil: an empty directory
	args     map[string]string // build arguments
}

// describe reads a Dockerfile with BuildKit's parser. An instruction that is not
// known here is an error: what Docker would make of it would be missing.
func describe(dockerfile io.Reader, in inputs) (*description, error) {
	parsed, err := parser.Parse(dockerfile)
	if err != nil {
		return nil, err
	}
	stages, _, err := instructions.Parse(parsed.AST, nil)
	if err != nil {
		return nil, err
	}
	d := &description{config: v1.Config{Labels: map[string]string{}, ExposedPorts: map[string]struct{}{}, Volumes: map[string]struct{}{}}}
	var env []string
	lex := shell.NewLex(parsed.EscapeToken)
	expand := func(word string) (string, error) {
		word, _, err := lex.ProcessWord(word, shell.EnvsFromSlice(env))
		return word, err
	}
	for _, command := range stages[len(stages)-1].Commands {
		if e, ok := command.(instructions.SupportsSingleWordExpansion); ok {
			if err := e.Expand(expand); err != nil {
				return nil, err
			}
		}
		if arg, ok := command.(*instructions.ArgCommand); ok {
			for _, a := range arg.Args {
				value, given := in.args[a.Key]
				if !given {
					value = a.ValueString()
				}
				env = append(env, a.Key+"="+value)
			}
			continue
		}
		if err := d.apply(command, in); err != nil {
			return nil, fmt.Errorf("line %d of the Dockerfile: %w", command.Location()[0].Start.Line, err)
		}
	}
	return d, nil
}

func (d *description) apply(command instructions.Command, in inputs) error {
	switch command := command.(type) {
	case *instructions.LabelCommand:
		for _, label := range command.Labels {
			d.config.Labels[label.Key] = label.Value
		}
	case *instructions.CopyCommand:
		return d.copy(command, in)
	case *instructions.WorkdirCommand:
		if !path.IsAbs(command.Path) {
			return errors.New("WORKDIR must be a whole path")
		}
		d.config.WorkingDir = command.Path
		d.directories(command.Path)
	case *instructions.VolumeCommand:
		for _, volume := range command.Volumes {
			d.config.Volumes[volume] = struct{}{}
		}
	case *instructions.ExposeCommand:
		for _, port := range command.Ports {
			if !strings.Contains(port, "/") {
				port += "/tcp"
			}
			d.config.ExposedPorts[port] = struct{}{}
		}
	case *instructions.UserCommand:
		d.config.User = command.User
	case *instructions.EntrypointCommand:
		d.config.Entrypoint = command.CmdLine
		return noShell(command.PrependShell)
	case *instructions.CmdCommand:
		d.config.Cmd = command.CmdLine
		return noShell(command.PrependShell)
	default:
		return fmt.Errorf("%s is not known here", strings.ToUpper(command.Name()))
	}
	return nil
}

func noShell(needed bool) error {
	if needed {
		return errors.New("there is no shell; write the command as a list")
	}
	return nil
}

// copy demands a mode: that of a checkout depends on who made it.
func (d *description) copy(command *instructions.CopyCommand, in inputs) error {
	f := file{name: command.DestPath}
	if len(command.SourcePaths) != 1 || f.name == "/" || path.Clean("/"+f.name) != f.name {
		return errors.New("COPY must be of one file to a whole path")
	}
	var err error
	if f.mode, err = strconv.ParseInt(command.Chmod, 8, 64); err != nil {
		return fmt.Errorf("COPY needs --chmod: %w", err)
	}
	if command.Chown != "" {
		if _, err := fmt.Sscanf(command.Chown, "%d:%d", &f.user, &f.group); err != nil {
			return fmt.Errorf("--chown=%s: %w", command.Chown, err)
		}
	}
	from := command.SourcePaths[0]
	text, built := in.built[from]
	if command.From == "" {
		text, err = fs.ReadFile(in.checkout, from)
	} else if !built {
		err = fmt.Errorf("no stage has built %s", from)
	}
	if err != nil {
		return err
	}
	f.text, f.dir = text, text == nil
	d.directories(path.Dir(f.name))
	d.files = append(d.files, f)
	return nil
}

// directories makes a directory and its parents root's, unless they are there.
func (d *description) directories(name string) {
	if name == "/" || slices.ContainsFunc(d.files, func(f file) bool { return f.name == name }) {
		return
	}
	d.directories(path.Dir(name))
	d.files = append(d.files, file{name: name, dir: true, mode: 0o755})
}
