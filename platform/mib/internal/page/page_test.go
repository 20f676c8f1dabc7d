package page

import (
	"io/fs"
	"net/http"
	"net/http/httptest"
	"path"
	"regexp"
	"strings"
	"testing"
)

func ask(method, target string, header ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, target, nil)
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	Handler().ServeHTTP(w, r)
	return w
}

func TestHandler(t *testing.T) {
	for _, c := range []struct {
		method, target string
		code           int
		kind           string
	}{
		{"GET", "/", 200, "text/html; charset=utf-8"},
		{"HEAD", "/", 200, "text/html; charset=utf-8"},
		{"GET", "/main.js", 200, "text/javascript; charset=utf-8"},
		{"GET", "/style.css", 200, "text/css; charset=utf-8"},
		{"GET", "/favicon.svg", 200, "image/svg+xml"},
		{"GET", "/static/main.js", 404, ""},
		{"GET", "/../page.go", 404, ""},
		{"GET", "/none", 404, ""},
		{"POST", "/", 405, ""},
	} {
		w := ask(c.method, c.target)
		if w.Code != c.code || c.kind != "" && w.Header().Get("Content-Type") != c.kind {
			t.Errorf("%s %s: %d %s", c.method, c.target, w.Code, w.Header().Get("Content-Type"))
		}
		if c.code == 200 && (w.Header().Get("Content-Security-Policy") != Policy || w.Header().Get("X-Content-Type-Options") != "nosniff") {
			t.Errorf("%s %s: %v", c.method, c.target, w.Header())
		}
	}
	etag := ask("GET", "/").Header().Get("ETag")
	if w := ask("GET", "/", "If-None-Match", etag); w.Code != http.StatusNotModified || etag == "" {
		t.Errorf("with the tag %s: %d", etag, w.Code)
	}
}

// The page needs nobody but its own server, and nothing that its policy forbids.
func TestFilesKeepThePolicy(t *testing.T) {
	all, err := fs.Glob(files, "static/*")
	if err != nil || len(all) < 8 {
		t.Fatal(all, err)
	}
	forbidden := regexp.MustCompile(`https?://|innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function|@import`)
	markup := regexp.MustCompile(`(?i)\sstyle=|\son[a-z]+=|<style|javascript:|<script(?:[^>]*)>[^<]`)
	from := regexp.MustCompile(`(?:from |import\()'([^']+)'|(?:src|href)="([^"#]+)"`)
	for _, name := range all {
		data, err := files.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		text := strings.ReplaceAll(string(data), "http://www.w3.org/2000/svg", "") // a name, not an address
		if m := forbidden.FindString(text); m != "" {
			t.Errorf("%s has %q", name, m)
		}
		if m := markup.FindString(text); m != "" && path.Ext(name) == ".html" {
			t.Errorf("%s has %q", name, m)
		}
		for _, m := range from.FindAllStringSubmatch(text, -1) {
			target := strings.TrimPrefix(m[1]+m[2], ".")
			if w := ask("GET", target); w.Code != 200 {
				t.Errorf("%s names %s: %d", name, target, w.Code)
			}
		}
	}
}
