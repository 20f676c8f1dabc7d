package report_test

import (
	"bytes"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/evenkeel-dev/evenkeel/rehearsal/internal/report"
)

func TestProgressOnATerminal(t *testing.T) {
	var b bytes.Buffer
	p := report.NewProgressFor(&b, true, true)
	s := report.Status{Phase: "starting Kubernetes", Elapsed: time.Second}
	p.Update(s)
	s.Elapsed += 20 * time.Millisecond
	p.Update(s) // too soon
	s = report.Status{Handler: "evenkeel", Phase: "load", NodesReady: 7, Nodes: 9, RequestsPerSecond: 219.6, Sent: 2200, Elapsed: 12 * time.Second, Total: 110 * time.Second}
	p.Update(s)
	p.Log("zone us-east-1a reclaimed")
	s.Failed, s.Elapsed = 1, s.Elapsed+time.Millisecond
	p.Update(s) // soon, but a failure
	p.Done()
	p.Done() // nothing is left to remove

	const erase = "\r\x1b[2K"
	const line = "0:12 of about 1:50  evenkeel: load  nodes 7/9 ready  220 requests/s  "
	want := erase + "0:01  starting Kubernetes" +
		erase + line + "\x1b[32m0 failed\x1b[0m" +
		erase + "zone us-east-1a reclaimed\n" + line + "\x1b[32m0 failed\x1b[0m" +
		erase + line + "\x1b[31m1 failed\x1b[0m" +
		erase
	if got := b.String(); got != want {
		t.Errorf("wrote\n%q\nwant\n%q", got, want)
	}
}

func TestProgressIsCutToTheTerminal(t *testing.T) {
	var b bytes.Buffer
	p := report.NewProgressFor(&b, true, false)
	p.Update(report.Status{Phase: strings.Repeat("waiting ", 20), Elapsed: time.Second})
	if got := strings.TrimPrefix(b.String(), "\r\x1b[2K"); len(got) != 79 {
		t.Errorf("the line has %d columns, want 79: %q", len(got), got)
	}
}

func TestProgressElsewhere(t *testing.T) {
	var b bytes.Buffer
	p := report.NewProgressFor(&b, false, false)
	s := report.Status{Phase: "load", Nodes: 7, NodesReady: 7, RequestsPerSecond: 220}
	for i := range 12 { // seconds 0 to 11: lines at 0, 5 and 10
		s.Elapsed, s.Sent = time.Duration(i)*time.Second, 220*i
		p.Update(s)
	}
	s.Phase = "stopping"
	p.Update(s)
	p.Log("done")
	p.Done()
	want := `0:00  load  nodes 7/7 ready
0:05  load  nodes 7/7 ready  220 requests/s  0 failed
0:10  load  nodes 7/7 ready  220 requests/s  0 failed
0:11  stopping  nodes 7/7 ready  220 requests/s  0 failed
done
`
	if got := b.String(); got != want {
		t.Errorf("wrote\n%s\nwant\n%s", got, want)
	}
}

func TestTerminalOfAFile(t *testing.T) {
	f, err := os.Create(t.TempDir() + "/out")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if terminal, color, width := report.Terminal(f); terminal || color || width != 80 {
		t.Errorf("a file is a terminal %v with colours %v and %d columns", terminal, color, width)
	}
	report.NewProgress(f).Update(report.Status{Phase: "load"})
	if text, err := os.ReadFile(f.Name()); err != nil || string(text) != "0:00  load\n" {
		t.Errorf("wrote %q, %v", text, err)
	}
}
