package agent

import (
	"encoding/json"
	"os"
	"strings"

	"github.com/elastichub/elastichub/kernels/agent/protocol"
)

// messageBytes keeps the log within the 4096 bytes that Kubernetes reads, even
// if every byte of the message needs an escape.
const messageBytes = 3 << 10

// writeResult leaves the result where the kubelet reads it.
func writeResult(path string, r protocol.Result) error {
	if r.Kept != nil {
		kept := *r.Kept
		r.Kept = &kept
	}
	for limit := messageBytes; ; {
		if len(r.Message) > limit {
			r.Message = "…" + strings.ToValidUTF8(r.Message[len(r.Message)-limit:], "")
		}
		raw, err := json.Marshal(r)
		if err != nil {
			return err
		}
		if len(raw) <= 4096 {
			return os.WriteFile(path, raw, 0o644)
		}
		if r.Kept != nil && len(r.Kept.Lost) > 0 { // the last first
			r.Kept.Lost = r.Kept.Lost[:len(r.Kept.Lost)-1]
			continue
		}
		limit /= 2
	}
}
