package api

import (
	"net/http"

	"github.com/gin-gonic/gin"
	"github.com/swaggest/swgui/v5emb"

	"github.com/berthregistry/berth/web/openapi"
)

const (
	documentPath = Prefix + "/openapi.yaml"
	docsPath     = "/api/docs"
	// docsPolicy lets the page run its own, embedded scripts and talk to this server only.
	docsPolicy = "default-src 'self'; script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline'; " +
		"img-src 'self' data:; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
)

// mountDocs serves the contract, and a page to read it and try it out. Both are for everybody: they say nothing about
// what is stored.
func mountDocs(r gin.IRouter) {
	r.GET(documentPath, func(c *gin.Context) {
		c.Header("Cache-Control", "public, max-age=300")
		c.Header("X-Content-Type-Options", "nosniff")
		c.Data(http.StatusOK, "application/yaml", openapi.Document)
	})
	page := v5emb.New("Berth: product API", documentPath, docsPath)
	serve := func(c *gin.Context) {
		c.Header("Content-Security-Policy", docsPolicy)
		c.Header("X-Content-Type-Options", "nosniff")
		page.ServeHTTP(c.Writer, c.Request)
	}
	r.GET(docsPath, serve)
	r.GET(docsPath+"/*file", serve)
}
