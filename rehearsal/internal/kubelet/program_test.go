package kubelet

import (
	"fmt"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"testing"
	"time"
)

// helperEnv makes the test binary one of the programs below.
const helperEnv = "KUBELET_TEST_PROGRAM"

func TestMain(m *testing.M) {
	switch os.Getenv(helperEnv) {
	case "":
		os.Exit(m.Run())
	case "serve":
		serve()
	case "rehearsal":
		crashingRehearsal()
	}
}

// serve is an HTTP server at $ADDR. It answers 503 to /ready while a file
// "unready" is in its working directory, and it lives on for $LINGER after
// SIGTERM.
func serve() {
	go func() {
		term := make(chan os.Signal, 1)
		signal.Notify(term, syscall.SIGTERM)
		<-term
		fmt.Println("terminated")
		linger, _ := time.ParseDuration(os.Getenv("LINGER"))
		time.Sleep(linger)
		os.Exit(0)
	}()
	fmt.Println("serving", os.Getenv("ADDR"))
	err := http.ListenAndServe(os.Getenv("ADDR"), http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/ready" {
			return
		}
		fmt.Println("probed")
		if _, err := os.Stat("unready"); err == nil {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	}))
	fmt.Println(err)
	os.Exit(1)
}

// alive reports whether a process with that number runs (and is no zombie).
func alive(pid int) bool {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return false
	}
	_, rest, _ := strings.Cut(string(data), ") ")
	return !strings.HasPrefix(rest, "Z") && !strings.HasPrefix(rest, "X")
}
