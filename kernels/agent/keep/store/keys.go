package store

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/hex"
	"fmt"

	"github.com/zeebo/blake3"
)

// Key is 32 bytes that belong to one kernel and are known to its agents alone.
type Key [32]byte

// ring is what follows from a key: one for each purpose.
type ring struct {
	id       string // tells keys apart, and nothing of them
	kernel   string
	names    []byte
	chunks   cipher.AEAD
	manifest cipher.AEAD
}

func newRing(key Key, kernel string) (*ring, error) {
	r := &ring{kernel: kernel}
	id, err := derive(key, "id", 8)
	if err != nil {
		return nil, err
	}
	r.id = hex.EncodeToString(id)
	if r.names, err = derive(key, "names", 32); err != nil {
		return nil, err
	}
	if r.chunks, err = newAEAD(key, "chunks"); err != nil {
		return nil, err
	}
	r.manifest, err = newAEAD(key, "manifest")
	return r, err
}

func derive(key Key, purpose string, size int) ([]byte, error) {
	return hkdf.Expand(sha256.New, key[:], "elastichub keep v1 "+purpose, size)
}

// newAEAD draws a nonce for each message. It must not follow from the content:
// the same content is packed in another way by another release.
func newAEAD(key Key, purpose string) (cipher.AEAD, error) {
	derived, err := derive(key, purpose, 32)
	if err != nil {
		return nil, err
	}
	block, err := aes.NewCipher(derived)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCMWithRandomNonce(block)
}

// name is the same for the same data, and tells nothing of it without the key.
func (r *ring) name(data []byte) (string, error) {
	hash, err := blake3.NewKeyed(r.names)
	if err != nil {
		return "", err
	}
	if _, err := hash.Write(data); err != nil {
		return "", err
	}
	return hex.EncodeToString(hash.Sum(nil)), nil
}

func (r *ring) sealChunk(to []byte, name string, packed []byte) []byte {
	return r.chunks.Seal(to, nil, packed, r.chunkContext(name))
}

func (r *ring) openChunk(to []byte, name string, sealed []byte) ([]byte, error) {
	return r.chunks.Open(to, nil, sealed, r.chunkContext(name))
}

// chunkContext binds a chunk to its kernel, name and format. Where in a stream
// it stands is the manifest's to say.
func (r *ring) chunkContext(name string) []byte {
	return fmt.Appendf(nil, "elastichub chunk %d\n%s\n%s", manifestFormat, r.kernel, name)
}

func (r *ring) sealManifest(header, body []byte) []byte {
	return r.manifest.Seal(nil, nil, body, header)
}

func (r *ring) openManifest(header, sealed []byte) ([]byte, error) {
	return r.manifest.Open(nil, nil, sealed, header)
}
