package frames

import (
	"encoding/json"
	"errors"
	"fmt"
)

// Saved is the outcome of a save that is a snapshot.
const Saved = "saved"

// limits of what the documents of H, R, A and Z may take. A report names every
// variable and everything that is lost.
var limits = map[Letter]int64{Header: 1 << 20, Record: 1 << 20, Hint: 1 << 20, End: 64 << 20}

// largest is beyond what any kernel has in memory.
const largest = 1 << 48

// checkSize checks the length that a frame says of itself.
func checkSize(letter Letter, size uint64) error {
	limit, document := limits[letter]
	switch {
	case document && size > uint64(limit):
		return fmt.Errorf("a frame %q of %d bytes is longer than %d", byte(letter), size, limit)
	case (letter == Void || letter == Complete) && size != 0:
		return fmt.Errorf("a frame %q is not empty", byte(letter))
	case size > largest:
		return fmt.Errorf("a frame %q of %d bytes is impossible", byte(letter), size)
	}
	return nil
}

// about is what the reader needs to know of a record.
type about struct {
	Number *int64  `json:"i"`
	Kind   string  `json:"k"`
	Name   *string `json:"n"`
	Type   *string `json:"t"`
}

func (a about) String() string { return fmt.Sprintf("%d (%s %q)", *a.Number, a.Kind, *a.Name) }

func decodeRecord(document []byte) (about, error) {
	var found about
	if err := json.Unmarshal(document, &found); err != nil {
		return about{}, err
	}
	if found.Number == nil || *found.Number < 0 || found.Kind == "" || found.Name == nil || found.Type == nil {
		return about{}, errors.New("a record without number, kind, name or type")
	}
	return found, nil
}

func checkHeader(document []byte) error {
	var header struct {
		Format int `json:"format"`
	}
	if err := json.Unmarshal(document, &header); err != nil {
		return err
	}
	if header.Format != Format {
		return fmt.Errorf("format %d is not known, %d is", header.Format, Format)
	}
	return nil
}

func checkHint(document []byte) error {
	var hint map[string]json.RawMessage
	if err := json.Unmarshal(document, &hint); err != nil {
		return err
	}
	if hint == nil {
		return errors.New("no object")
	}
	return nil
}

func checkReport(document []byte) error {
	var report struct {
		Outcome string `json:"outcome"`
	}
	if err := json.Unmarshal(document, &report); err != nil {
		return err
	}
	if report.Outcome != Saved {
		return fmt.Errorf("the report's outcome is %q", report.Outcome)
	}
	return nil
}
