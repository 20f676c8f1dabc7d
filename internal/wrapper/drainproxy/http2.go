package drainproxy

import (
	"net/http"
	"net/http/httputil"
	"net/url"
)

// newHTTP2Handler returns the way for requests that came over HTTP/2 without
// TLS. They go on over HTTP/2, since trailers (gRPC) and streams in both
// directions at once exist only there.
func newHTTP2Handler(p *Proxy) http.Handler {
	var protocols http.Protocols
	protocols.SetUnencryptedHTTP2(true)
	transport := &http.Transport{
		Protocols:          &protocols,
		DisableCompression: true, // bytes pass as they are
	}
	target := &url.URL{Scheme: "http", Host: p.cfg.Target}
	return &httputil.ReverseProxy{
		Transport: transport,
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(target)
			r.Out.Host = r.In.Host
			if prior := r.In.Header["X-Forwarded-For"]; prior != nil {
				r.Out.Header["X-Forwarded-For"] = prior
			} else {
				r.SetXForwarded()
				r.Out.Header.Del("X-Forwarded-Host")
				r.Out.Header.Del("X-Forwarded-Proto")
			}
		},
		FlushInterval: -1,
		ErrorHandler: func(w http.ResponseWriter, r *http.Request, err error) {
			if p.cfg.Gone() {
				w.Header().Set("Retry-After", "1")
				w.WriteHeader(http.StatusServiceUnavailable)
				return
			}
			w.WriteHeader(http.StatusBadGateway)
		},
	}
}
