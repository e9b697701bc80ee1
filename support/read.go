package support

import (
	"bytes"
	"io"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
)

func fromUnstructured(o unstructured.Unstructured, into any) error {
	return runtime.DefaultUnstructuredConverter.FromUnstructured(o.Object, into)
}

// lastBytes reads to the end and returns the last whole lines that have at most limit bytes.
func lastBytes(from io.Reader, limit int64) ([]byte, error) {
	var kept []byte
	cut := false
	block := make([]byte, 64<<10)
	for {
		n, err := from.Read(block)
		kept = append(kept, block[:n]...)
		done := err == io.EOF
		if over := int64(len(kept)) - limit; over > limit || done && over > 0 { // not for each block
			kept, cut = append(kept[:0], kept[over:]...), true
		}
		if done {
			break
		}
		if err != nil {
			return kept, err
		}
	}
	if _, after, found := bytes.Cut(kept, []byte("\n")); cut && found {
		kept = after
	}
	return kept, nil
}
