package server

import (
	"github.com/berthregistry/berth/internal/auth"
	"github.com/berthregistry/berth/internal/config"
)

// Validate checks the settings of a server: as [config.Validate] does, and then what package config cannot judge alone. It
// returns config.Problems, or nil.
func Validate(cfg config.Config) error {
	if err := config.Validate(cfg); err != nil {
		return err //nolint:wrapcheck // names the variables
	}
	if cfg.Admin.Token == "" {
		return nil
	}
	if err := auth.CheckToken(cfg.Admin.Token.Reveal()); err != nil {
		return config.Problems{{
			Variable: "BERTH_ADMIN_TOKEN",
			Sentence: "begins with berth_ as the tokens do that Berth makes, and is none of them: " + err.Error(),
		}}
	}
	return nil
}
