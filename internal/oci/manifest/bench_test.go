package manifest_test

import (
	"strings"
	"testing"

	"github.com/berthregistry/berth/internal/oci/digests"
	"github.com/berthregistry/berth/internal/oci/manifest"
)

func BenchmarkParse(b *testing.B) {
	layers := func(n int) []byte {
		list := make([]string, n)
		for i := range list {
			list[i] = descriptor(layerType, i+2)
		}
		return []byte(image(strings.Join(list, ","), `,"annotations":{"org.opencontainers.image.created":"2026-01-01T00:00:00Z"}`))
	}
	for name, body := range map[string][]byte{"10 layers": layers(10), "5000 layers": layers(5000)} {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(body)))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := manifest.Parse(ociManifest, body, digests.SHA256); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
