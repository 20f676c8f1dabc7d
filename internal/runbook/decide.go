package runbook

import (
	"fmt"
	"time"
)

// A Node is what an action on a node looks at.
type Node struct {
	Unschedulable bool
	Record        bool // it is being drained
	ByHand        bool // and not because of a notice
}

// A Deployment is what an action on a deployment looks at.
type Deployment struct {
	Replicas         int  // wanted
	Updated          int  // of them: pods of the present template
	Ready            int  // of them
	Observed         bool // the status is about the present spec
	Paused           bool
	Restarted        time.Time // by this command; zero if never
	ScaledBySomebody string    // the name of what scales it by itself, or empty
}

// Annotation says on an object which runbook changed it last, by whom and when.
const Annotation = "evenkeel.dev/runbook"

// restartedLately bounds restarts: a pod that keeps failing is not mended by a third one.
const restartedLately = 10 * time.Minute

// A Verdict says what an action comes to in the cluster as it is.
type Verdict struct {
	Do     bool   `json:"do"`
	Before string `json:"before,omitempty"`
	After  string `json:"after,omitempty"`
	Why    string `json:"why,omitempty"` // it is not done
	// Replicas is what a deployment is to be scaled from and to.
	From, To int `json:"-"`
}

func no(format string, args ...any) Verdict { return Verdict{Why: fmt.Sprintf(format, args...)} }

// DecideNode decides an action on a node.
func DecideNode(a Action, n Node) Verdict {
	switch a.Kind {
	case Cordon:
		if n.Unschedulable {
			return no("it is cordoned already")
		}
		return Verdict{Do: true, Before: "schedulable", After: "cordoned"}
	case Cancel:
		if !n.Record {
			return no("it is not being drained")
		}
		if !n.ByHand {
			return no("it is drained because of a notice: the machine goes all the same, and its pods had better be gone")
		}
		return Verdict{Do: true, Before: "being drained", After: "not being drained"}
	}
	return no("%s is not an action on a node", a.Kind)
}

// DecideDeployment decides an action on a deployment.
func DecideDeployment(a Action, d Deployment, now time.Time) Verdict {
	switch a.Kind {
	case Scale:
		to := min(max(d.Replicas+a.By, a.Min), a.Max)
		switch {
		case d.ScaledBySomebody != "":
			return no("%s scales it, and would undo it: change its bounds instead", d.ScaledBySomebody)
		case d.Replicas == 0:
			return no("it is scaled to 0: somebody has switched it off")
		case to == d.Replicas:
			return no("it has %d replicas, and the page allows %d to %d", d.Replicas, a.Min, a.Max)
		case to > d.Replicas != (a.By > 0):
			return no("it has %d replicas, which is outside of %d to %d: a person decides", d.Replicas, a.Min, a.Max)
		}
		return Verdict{Do: true, Before: fmt.Sprintf("%d replicas", d.Replicas), After: fmt.Sprintf("%d replicas", to), From: d.Replicas, To: to}
	case Restart:
		switch {
		case d.Paused:
			return no("its rollouts are paused")
		case d.Replicas == 0:
			return no("it is scaled to 0: somebody has switched it off")
		case !d.Observed || d.Updated < d.Replicas:
			return no("a rollout is under way: %d of %d pods are new", d.Updated, d.Replicas)
		case !d.Restarted.IsZero() && now.Sub(d.Restarted) < restartedLately:
			return no("it was restarted %v ago, less than %v: another one will not mend it", now.Sub(d.Restarted).Round(time.Second), restartedLately)
		}
		return Verdict{Do: true, Before: fmt.Sprintf("%d of %d pods ready", d.Ready, d.Replicas), After: "new pods, as its strategy replaces them"}
	}
	return no("%s is not an action on a deployment", a.Kind)
}

// Outcomes of a Line.
const (
	Would    = "would"    // with --dry-run
	Begun    = "begun"    // written before anything is done
	Done     = "done"     //
	Skipped  = "skipped"  // there was nothing to do, or a bound forbade it
	Declined = "declined" // by the person who was asked
	Failed   = "failed"
	Printed  = "printed"
)

// A Line of the audit log, one JSON object, says what became of an action.
type Line struct {
	Time    time.Time `json:"time"`
	Runbook string    `json:"runbook"`
	Action  string    `json:"action"`
	Kind    string    `json:"kind"`
	Object  string    `json:"object,omitempty"`
	User    string    `json:"user"`
	Cluster string    `json:"cluster,omitempty"`
	Outcome string    `json:"outcome"`
	Before  string    `json:"before,omitempty"`
	After   string    `json:"after,omitempty"`
	Why     string    `json:"why,omitempty"`
}

// Object names what an action is about.
func (a Action) Object() string {
	switch {
	case a.Node != "":
		return "node/" + a.Node
	case a.Deployment != "":
		return "deployment/" + a.Deployment
	}
	return ""
}
