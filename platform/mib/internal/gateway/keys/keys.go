// Package keys knows who may ask: API keys, of which only hashes are kept.
//
// A file of keys has a line for each:
//
//	NAME sha256:64-hexadecimal-digits [rate=REQUESTS-PER-SECOND] [burst=REQUESTS]
//
// Empty lines and those that begin with # are ignored. A key is 32 random bytes, so
// a plain hash is enough: there is nothing to guess that salt and stretching would
// protect. The key itself is shown once, when it is made, and never logged.
package keys

import (
	"bufio"
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"math"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
)

// A Client is the holder of a key.
type Client struct {
	Name  string
	Rate  float64 // requests per second; 0: the default
	Burst int     // requests at once; 0: the default
}

// A Set is the keys of one file.
type Set map[[sha256.Size]byte]Client

const prefix = "mib_"

// New makes a key, and the line of a file for it.
func New(name string) (key, line string, err error) {
	if !goodName(name) {
		return "", "", fmt.Errorf("%q is no name: use letters, digits, dots, dashes and underscores, at most %d", name, maxName)
	}
	var b [32]byte
	_, _ = rand.Read(b[:]) // never fails
	key = prefix + base64.RawURLEncoding.EncodeToString(b[:])
	return key, fmt.Sprintf("%s sha256:%x", name, sha256.Sum256([]byte(key))), nil
}

const (
	maxName = 64
	maxKeys = 100_000
	maxFile = 16 << 20
)

func goodName(s string) bool {
	return s != "" && len(s) <= maxName && !strings.ContainsFunc(s, func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("._-", r))
	})
}

// Parse reads a file of keys. Errors name the line, and nothing that is in it but
// the name: somebody may have pasted a key instead of its hash.
func Parse(b []byte) (Set, error) {
	if len(b) > maxFile {
		return nil, fmt.Errorf("it has more than %d bytes", maxFile)
	}
	set := make(Set)
	names := make(map[string]bool)
	lines := bufio.NewScanner(bytes.NewReader(b))
	for n := 1; lines.Scan(); n++ {
		fields := strings.Fields(lines.Text())
		if len(fields) == 0 || strings.HasPrefix(fields[0], "#") {
			continue
		}
		if !goodName(fields[0]) {
			return nil, fmt.Errorf("line %d: the first word must be a name of letters, digits, dots, dashes and underscores, at most %d", n, maxName)
		}
		c := Client{Name: fields[0]}
		if names[c.Name] {
			return nil, fmt.Errorf("line %d: there is another key named %s", n, c.Name)
		}
		names[c.Name] = true
		if len(fields) < 2 {
			return nil, fmt.Errorf("line %d: %s has no hash", n, c.Name)
		}
		digits, ok := strings.CutPrefix(fields[1], "sha256:")
		sum, err := hex.DecodeString(digits)
		if !ok || err != nil || len(sum) != sha256.Size {
			return nil, fmt.Errorf("line %d: %s must have a hash like sha256:%s", n, c.Name, "64 hexadecimal digits")
		}
		for _, f := range fields[2:] {
			option, value, _ := strings.Cut(f, "=")
			var err error
			switch option {
			case "rate":
				c.Rate, err = strconv.ParseFloat(value, 64)
				if err == nil && !(c.Rate > 0 && c.Rate <= 1e9) || math.IsNaN(c.Rate) {
					err = strconv.ErrRange
				}
			case "burst":
				c.Burst, err = strconv.Atoi(value)
				if err == nil && (c.Burst < 1 || c.Burst > 1e9) {
					err = strconv.ErrRange
				}
			default:
				return nil, fmt.Errorf("line %d: %s has an option that is neither rate=NUMBER nor burst=NUMBER", n, c.Name)
			}
			if err != nil {
				return nil, fmt.Errorf("line %d: %s: %s must be a number above 0", n, c.Name, option)
			}
		}
		hash := [sha256.Size]byte(sum)
		if other, ok := set[hash]; ok {
			return nil, fmt.Errorf("line %d: %s and %s have the same key", n, other.Name, c.Name)
		}
		set[hash] = c
		if len(set) > maxKeys {
			return nil, fmt.Errorf("it has more than %d keys", maxKeys)
		}
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("line %d is too long", len(set)+1)
	}
	return set, nil
}

// A File is a file of keys in use. It is safe for concurrent use.
type File struct {
	name string
	set  atomic.Pointer[Set]
}

// Open reads a file.
func Open(name string) (*File, error) {
	f := &File{name: name}
	return f, f.Load()
}

// Load reads the file again. If it fails the keys stay as they were.
func (f *File) Load() error {
	b, err := os.ReadFile(f.name)
	if err != nil {
		return fmt.Errorf("reading keys: %w", err)
	}
	set, err := Parse(b)
	if err != nil {
		return fmt.Errorf("reading keys from %s: %w", f.name, err)
	}
	f.set.Store(&set)
	return nil
}

// Client returns who sent a request with the key in "Authorization: Bearer KEY" or
// "X-API-Key: KEY".
func (f *File) Client(r *http.Request) (Client, bool) {
	key := r.Header.Get("X-Api-Key")
	if scheme, token, ok := strings.Cut(r.Header.Get("Authorization"), " "); ok && strings.EqualFold(scheme, "Bearer") {
		key = strings.TrimSpace(token)
	}
	if key == "" {
		return Client{}, false
	}
	// Looked up by its hash: how long that takes says nothing of other keys.
	c, ok := (*f.set.Load())[sha256.Sum256([]byte(key))]
	return c, ok
}
