package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/berthregistry/berth/internal/config"
	"github.com/berthregistry/berth/internal/doctor"
	"github.com/berthregistry/berth/internal/server"
)

type doctorCommand struct {
	config.Config `embed:""`

	Local   bool            `help:"Leave out what needs a running server: before the first start."`
	Strict  bool            `help:"Fail for warnings, too."`
	MinFree config.ByteSize `default:"5GiB" help:"Free space below which a folder is running full; a tenth of it is an error."`
	Output  string          `enum:"text,json" default:"text" help:"Form of the output: text or json."`
}

// errUnhealthy is for findings that are errors; they have been told.
var errUnhealthy = errors.New("not everything is as it should be")

// Run examines and prints what it found.
func (c *doctorCommand) Run(p *process) error {
	err := p.loader.Check(c.Config)
	if err == nil {
		err = server.Validate(c.Config)
	}
	problems, _ := errors.AsType[config.Problems](err)
	found := doctor.Examine(p.ctx, doctor.Options{
		Config: c.Config, Problems: problems, Local: c.Local, MinFree: int64(c.MinFree),
	})
	report := doctorReport{
		Version: buildVersion().String(), Errors: doctor.Count(found, doctor.Failure), Warnings: doctor.Count(found, doctor.Warning), Findings: found,
	}
	report.Healthy = report.Errors == 0 && (report.Warnings == 0 || !c.Strict)
	if err := report.write(p.stdout, c.Output); err != nil {
		return err
	}
	if !report.Healthy {
		return errUnhealthy
	}
	return nil
}

// doctorReport is what the command says.
type doctorReport struct {
	Version  string           `json:"version"`
	Healthy  bool             `json:"healthy"`
	Errors   int              `json:"errors"`
	Warnings int              `json:"warnings"`
	Findings []doctor.Finding `json:"findings"`
}

func (r doctorReport) write(to io.Writer, form string) error {
	if form == "json" {
		out := json.NewEncoder(to)
		out.SetIndent("", "  ")
		return out.Encode(r)
	}
	for _, f := range r.Findings {
		_, _ = fmt.Fprintf(to, "%-8s %-20s %s\n", f.Level, f.Check, f.Says)
		if f.Do != "" {
			_, _ = fmt.Fprintf(to, "%29s -> %s\n", "", f.Do)
		}
	}
	_, err := fmt.Fprintf(to, "%d errors, %d warnings\n", r.Errors, r.Warnings)
	return err
}
