package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/url"

	"github.com/berthregistry/berth/internal/config"
	"github.com/berthregistry/berth/internal/verify"
)

type verifyCommand struct {
	URL string `arg:"" help:"URL of the registry, such as https://registry.example.dev."`

	Token      config.Secret `env:"BERTH_TOKEN" placeholder:"SECRET" help:"Personal token without grants; with --repository any token that may push there."`
	Repository string        `placeholder:"NAME" help:"Push to this repository, such as demo/probe. Default: one in a new project, which is deleted again."`
	Anonymous  string        `enum:"auto,allowed,refused" default:"auto" help:"What to expect of pushes without an account: allowed, refused, or auto for either."`
	Keep       bool          `help:"Leave what was pushed where it is."`
	Insecure   bool          `help:"Take any certificate."`
	Output     string        `enum:"text,json" default:"text" help:"Form of the output: text or json."`
}

// Run verifies, with a line for each step.
func (c *verifyCommand) Run(p *process) error {
	if err := p.loader.Check(); err != nil {
		return err
	}
	target, err := url.Parse(c.URL)
	if err != nil || target.Host == "" || target.Scheme != "http" && target.Scheme != "https" || target.Path != "" && target.Path != "/" {
		return usageError{errors.New("give the URL of the registry without a path, such as https://registry.example.dev")}
	}
	if c.Token == "" {
		return usageError{errors.New("BERTH_TOKEN: a token is needed; see berth token create")}
	}
	steps := []verify.Step{}
	failed := verify.Run(p.ctx, verify.Options{
		URL: target, Token: c.Token.Reveal(), Repository: c.Repository, Anonymous: verify.Anonymous(c.Anonymous), Keep: c.Keep, Insecure: c.Insecure,
	}, func(s verify.Step) {
		steps = append(steps, s)
		if c.Output == "text" {
			_, _ = fmt.Fprintf(p.stdout, "%-8s %7.3f s  %-36s %s\n", s.Result, s.Took, s.Name, s.Says)
		}
	})
	if c.Output == "json" {
		out := json.NewEncoder(p.stdout)
		out.SetIndent("", "  ")
		if err := out.Encode(verifyReport{URL: target.Redacted(), Failed: failed, Steps: steps}); err != nil {
			return err
		}
	}
	if failed > 0 {
		return fmt.Errorf("%d of %d steps failed", failed, len(steps))
	}
	return nil
}

// verifyReport is what the command says.
type verifyReport struct {
	URL    string        `json:"url"`
	Failed int           `json:"failed"`
	Steps  []verify.Step `json:"steps"`
}
