package main

import (
	"bufio"
	"fmt"
	"io"
	"time"

	"github.com/google/uuid"

	"github.com/berthregistry/berth/client"
)

type auditExportCommand struct {
	remoteFlags `embed:""`

	Project string    `placeholder:"ID" help:"Only what is about the project of this ID."`
	Since   time.Time `placeholder:"INSTANT" help:"Only what was done at this instant or later, such as 2026-11-20T10:00:00Z."`
	Until   time.Time `placeholder:"INSTANT" help:"Only what was done before this instant."`
}

// Run writes the entries to standard output, a line of JSON each, the oldest first.
func (c *auditExportCommand) Run(p *process) error {
	api, err := c.client(p, client.WithoutTimeout())
	if err != nil {
		return err
	}
	params := client.ExportAllAuditParams{Since: set(c.Since), Until: set(c.Until)}
	if c.Project != "" {
		id, err := uuid.Parse(c.Project)
		if err != nil {
			return usageError{fmt.Errorf("--project: %q is not the ID of a project", c.Project)}
		}
		params.Project = &id
	}
	answer, err := api.ExportAllAudit(p.ctx, &params)
	if err != nil {
		return err
	}
	defer func() { _ = answer.Body.Close() }()
	if kind := answer.Header.Get("Content-Type"); kind != "application/x-ndjson" {
		_, err := got[struct{}](nil, answer)
		return err
	}
	out := bufio.NewWriter(p.stdout)
	if _, err := io.Copy(out, answer.Body); err != nil {
		return fmt.Errorf("the export is not complete: %w", err)
	}
	return out.Flush()
}

// set is nil for an instant that was not given.
func set(at time.Time) *time.Time {
	if at.IsZero() {
		return nil
	}
	return &at
}
