package main

import (
	"encoding/json"
	"fmt"
	"io"
	"text/tabwriter"

	"github.com/berthregistry/berth/internal/config"
	"github.com/berthregistry/berth/internal/server"
)

type gcCommand struct {
	Database config.Database `embed:"" group:"Database"`
	Storage  config.Storage  `embed:"" group:"Storage"`
	Uploads  config.Uploads  `embed:"" group:"Uploads"`
	Registry config.Registry `embed:"" group:"Registry"`
	GC       config.GC       `embed:"" group:"Garbage collection"`
	Log      config.Log      `embed:"" group:"Logging"`

	DryRun bool   `help:"Only tell what would be done."`
	Output string `enum:"text,json" default:"text" help:"Form of the output: text or json."`
}

// Run collects, or tells what would be collected.
func (c *gcCommand) Run(p *process) error {
	if err := p.loader.Check(c.Database, c.Storage, c.Uploads, c.Registry, c.GC, c.Log); err != nil {
		return err
	}
	cfg := config.Default()
	cfg.Database, cfg.Storage, cfg.Uploads, cfg.Registry, cfg.GC = c.Database, c.Storage, c.Uploads, c.Registry, c.GC
	figures, err := server.Collect(p.ctx, cfg, c.DryRun, server.Options{Logger: server.NewLogger(p.stderr, c.Log)})
	if err != nil {
		return err
	}
	report := collectionReport{DryRun: c.DryRun, Figures: figures}
	if c.Output == "json" {
		out := json.NewEncoder(p.stdout)
		out.SetIndent("", "  ")
		return out.Encode(report)
	}
	return report.print(p.stdout)
}

// collectionReport is what the command says.
type collectionReport struct {
	DryRun bool `json:"dry_run"`
	server.Figures
}

func (r collectionReport) print(to io.Writer) error {
	columns := tabwriter.NewWriter(to, 0, 8, 2, ' ', tabwriter.AlignRight)
	verb := ""
	if r.DryRun {
		verb = "would be "
	}
	for _, line := range []struct {
		n    int64
		what string
	}{
		{r.Projects, "projects " + verb + "purged"},
		{r.Repositories, "repositories " + verb + "purged"},
		{r.Manifests, "manifests " + verb + "purged"},
		{r.Tags, "tags " + verb + "purged"},
		{r.Links, "links " + verb + "collected"},
		{r.Blobs, fmt.Sprintf("blobs %scollected, of %d bytes", verb, r.BlobBytes)},
		{r.Days, "days " + verb + "looked through for orphans"},
		{r.Orphans, fmt.Sprintf("orphans doomed, of %d bytes", r.OrphanBytes)},
		{r.RemovedObjects, fmt.Sprintf("objects %sremoved from storage, of %d bytes", verb, r.RemovedBytes)},
		{r.CompactedBlobs, fmt.Sprintf("blobs %scompacted, of %d bytes", verb, r.CompactedBytes)},
	} {
		if r.DryRun && line.what == fmt.Sprintf("orphans doomed, of %d bytes", r.OrphanBytes) {
			continue // they are not known before storage is looked through
		}
		_, _ = fmt.Fprintf(columns, "%d\t  %s\n", line.n, line.what)
	}
	return columns.Flush()
}
