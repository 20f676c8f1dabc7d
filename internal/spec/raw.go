package spec

// The raw structs are the manual of the file format: the strict decoder, the
// JSON Schema and the documentation are all made from their tags.
//
//	yaml      name in the file
//	doc       what it means, with its unit
//	required  "true": the file must say it
//	default   used when the file does not say it
//	enum      the words that are allowed, separated by commas
//	format    form of a text, see formats in scalar.go
//	min, max  range of a number or duration
//	keys, values  formats of the names and values of a table

type rawPlatform struct {
	APIVersion    string           `yaml:"apiVersion" required:"true" enum:"evenkeel.dev/v1alpha1" doc:"version of this file format"`
	Kind          string           `yaml:"kind" required:"true" enum:"Platform" doc:"always Platform"`
	Cluster       rawCluster       `yaml:"cluster" required:"true" doc:"where the platform runs"`
	Pools         []rawPool        `yaml:"pools" required:"true" doc:"groups of machines; one pool is one failure domain per zone"`
	Services      []rawService     `yaml:"services" required:"true" doc:"the workloads"`
	Policies      rawPolicies      `yaml:"policies" doc:"what is done when machines go"`
	Observability rawObservability `yaml:"observability" doc:"where metrics are and what is promised"`
	Notifications rawNotifications `yaml:"notifications" doc:"who is told, and when money runs away"`
}

type rawCluster struct {
	Provider    string   `yaml:"provider" required:"true" enum:"aws" doc:"the cloud"`
	Region      string   `yaml:"region" required:"true" format:"zone" doc:"the cloud's region, such as us-east-1"`
	Zones       []string `yaml:"zones" required:"true" format:"zone" doc:"zones of the region that may be used; three survive the loss of one"`
	Name        string   `yaml:"name" required:"true" format:"dns" doc:"name of the cluster and prefix of everything that is made for it"`
	Namespace   string   `yaml:"namespace" required:"true" format:"dns" doc:"Kubernetes namespace of the services"`
	Kubernetes  string   `yaml:"kubernetes" default:"1.35" format:"version" doc:"minor version of Kubernetes, 1.30 or later"`
	Provisioner string   `yaml:"provisioner" default:"node-groups" enum:"node-groups,karpenter" doc:"who starts machines: managed node groups, or Karpenter (then only on-demand pools become node groups)"`
}

type rawPool struct {
	Name          string            `yaml:"name" required:"true" format:"dns" doc:"name of the pool; nodes carry it in the label evenkeel.dev/pool"`
	Capacity      string            `yaml:"capacity" required:"true" enum:"spot,on-demand" doc:"how the machines are bought"`
	InstanceTypes []string          `yaml:"instanceTypes" format:"instance" doc:"machine types; the more a spot pool has, the rarer a shortage takes all of it"`
	Requirements  *rawRequirements  `yaml:"requirements" doc:"what a machine must offer, instead of instanceTypes; needs provisioner karpenter"`
	Zones         []string          `yaml:"zones" format:"zone" doc:"zones of the pool; all zones of the cluster unless given"`
	Size          rawSize           `yaml:"size" required:"true" doc:"number of machines"`
	Architecture  string            `yaml:"architecture" default:"amd64" enum:"amd64,arm64" doc:"processor architecture"`
	Disk          memory            `yaml:"disk" default:"40Gi" doc:"size of the root disk"`
	Taint         *rawTaint         `yaml:"taint" doc:"keeps pods away that do not name the pool"`
	Labels        map[string]string `yaml:"labels" keys:"label" values:"labelvalue" doc:"further node labels"`
	Fallback      string            `yaml:"fallback" format:"dns" doc:"on-demand pool that takes this pool's pods when spot machines are not to be had"`
}

type rawRequirements struct {
	Categories    []string `yaml:"categories" required:"true" format:"dns" doc:"instance categories, such as c, m, r"`
	MinCPU        int      `yaml:"minCPU" default:"2" min:"1" max:"448" doc:"fewest cores of a machine"`
	MaxCPU        int      `yaml:"maxCPU" default:"16" min:"1" max:"448" doc:"most cores of a machine"`
	MinGeneration int      `yaml:"minGeneration" default:"5" min:"1" max:"20" doc:"oldest generation of a category"`
}

type rawSize struct {
	Min     int `yaml:"min" required:"true" max:"1000" doc:"fewest machines"`
	Desired int `yaml:"desired" required:"true" max:"1000" doc:"machines to start with"`
	Max     int `yaml:"max" required:"true" min:"1" max:"1000" doc:"most machines"`
}

type rawTaint struct {
	Key    string `yaml:"key" default:"evenkeel.dev/pool" format:"label" doc:"key of the taint"`
	Value  string `yaml:"value" format:"labelvalue" doc:"value of the taint; the pool's name unless given"`
	Effect string `yaml:"effect" default:"NoSchedule" enum:"NoSchedule,PreferNoSchedule,NoExecute" doc:"effect of the taint"`
}

type rawService struct {
	Name         string            `yaml:"name" required:"true" format:"dns" doc:"name of the workload and of everything that belongs to it"`
	Component    string            `yaml:"component" format:"dns" doc:"value of app.kubernetes.io/component"`
	Image        string            `yaml:"image" required:"true" format:"image" doc:"container image with tag or digest"`
	Command      []string          `yaml:"command" doc:"replaces the image's entrypoint"`
	Args         []string          `yaml:"args" doc:"arguments"`
	Env          map[string]string `yaml:"env" keys:"env" doc:"environment variables"`
	EnvFrom      []string          `yaml:"envFrom" format:"dns" doc:"Secrets of the namespace whose keys become environment variables"`
	Ports        []rawPort         `yaml:"ports" doc:"ports that the service listens on"`
	Health       *rawHealth        `yaml:"health" doc:"how the kubelet asks after it; needed behind a port"`
	Replicas     *int              `yaml:"replicas" max:"10000" doc:"fixed number of replicas; or give scaling"`
	Scaling      *rawScaling       `yaml:"scaling" doc:"range of replicas and what moves it; or give replicas"`
	Resources    rawResources      `yaml:"resources" required:"true" doc:"what one replica needs"`
	Availability rawAvailability   `yaml:"availability" required:"true" doc:"how many replicas may be missing at a time; at least one of the two"`
	Spread       rawSpread         `yaml:"spread" doc:"how evenly replicas lie over zones and nodes"`
	Pools        []string          `yaml:"pools" required:"true" format:"dns" doc:"pools in order of preference; fallbacks of spot pools are added"`
	Drain        rawDrain          `yaml:"drain" doc:"how a replica ends"`
	Spot         string            `yaml:"spot" default:"tolerate" enum:"tolerate,avoid" doc:"avoid keeps the service on on-demand pools"`
	Handoff      *bool             `yaml:"handoff" doc:"whether a replacement is started before a pod is evicted; true unless given, never for stateful services"`
	Stateful     *rawStateful      `yaml:"stateful" doc:"makes it a StatefulSet with stable names"`
	Scratch      *rawScratch       `yaml:"scratch" doc:"a folder that each replica may write to; everything else is read-only"`
	LoadBalancer *rawLoadBalancer  `yaml:"loadBalancer" doc:"makes it reachable from outside through the cloud's load balancer"`
	Connects     []string          `yaml:"connects" format:"dns" doc:"services that it calls; everything else inside is refused by network policy"`
	Outbound     []int             `yaml:"outbound" min:"1" max:"65535" doc:"TCP ports that it may reach outside of the cluster"`
	ClusterRole  string            `yaml:"clusterRole" format:"dns" doc:"existing ClusterRole that its ServiceAccount is bound to; no access to the Kubernetes API unless given"`
	Strategy     string            `yaml:"strategy" default:"surge" enum:"surge,recreate" doc:"whether two revisions may run at once; recreate also rules out handoff"`
	Priority     string            `yaml:"priority" default:"normal" enum:"critical,high,normal,low" doc:"who gives way when there is too little room"`
	SLO          *rawSLO           `yaml:"slo" doc:"what is promised to its callers"`
}

type rawPort struct {
	Name   string `yaml:"name" required:"true" format:"dns" doc:"name of the port"`
	Port   int    `yaml:"port" required:"true" min:"1" max:"65535" doc:"port of the Service"`
	Target int    `yaml:"target" min:"1" max:"65535" doc:"port of the container; the same unless given"`
}

type rawHealth struct {
	Port     int      `yaml:"port" required:"true" min:"1" max:"65535" doc:"port of the container that answers"`
	Ready    string   `yaml:"ready" default:"/readyz" format:"path" doc:"path that answers 200 while requests are welcome"`
	Live     string   `yaml:"live" default:"/livez" format:"path" doc:"path that answers 200 while the process is not stuck"`
	Startup  duration `yaml:"startup" default:"60s" min:"1s" max:"30m" doc:"how long it may take to become ready for the first time"`
	Interval duration `yaml:"interval" default:"2s" min:"1s" max:"1m" doc:"time between two readiness questions"`
}

type rawScaling struct {
	Min           int          `yaml:"min" required:"true" max:"10000" doc:"fewest replicas; 0 lets it sleep without load"`
	Max           int          `yaml:"max" required:"true" min:"1" max:"10000" doc:"most replicas"`
	Triggers      []rawTrigger `yaml:"triggers" required:"true" doc:"what moves the number of replicas"`
	Cooldown      duration     `yaml:"cooldown" default:"5m" min:"10s" max:"24h" doc:"quiet time before it falls to zero, and window in which it does not shrink"`
	Poll          duration     `yaml:"poll" default:"15s" min:"1s" max:"10m" doc:"time between two looks at the triggers"`
	Fallback      *int         `yaml:"fallback" min:"1" max:"10000" doc:"replicas while a trigger cannot be read; max(min, 1) unless given"`
	FallbackAfter int          `yaml:"fallbackAfter" default:"3" min:"1" max:"100" doc:"failed looks before the fallback holds"`
}

type rawTrigger struct {
	CPU        *rawCPUTrigger        `yaml:"cpu" doc:"processor use"`
	Prometheus *rawPrometheusTrigger `yaml:"prometheus" doc:"a PromQL query"`
	Kafka      *rawKafkaTrigger      `yaml:"kafka" doc:"lag of a consumer group"`
	NATS       *rawNATSTrigger       `yaml:"nats" doc:"lag of a JetStream consumer"`
	Cron       *rawCronTrigger       `yaml:"cron" doc:"times of the day"`
}

type rawCPUTrigger struct {
	Utilization int `yaml:"utilization" required:"true" min:"1" max:"1000" doc:"percent of the requested processor time"`
}

type rawPrometheusTrigger struct {
	Query     string `yaml:"query" required:"true" doc:"query that returns one number"`
	Threshold string `yaml:"threshold" required:"true" doc:"value per replica, in quotes"`
}

type rawKafkaTrigger struct {
	Brokers string `yaml:"brokers" required:"true" doc:"bootstrap servers, host:port separated by commas"`
	Group   string `yaml:"group" required:"true" doc:"consumer group"`
	Topic   string `yaml:"topic" required:"true" doc:"topic"`
	Lag     int    `yaml:"lag" required:"true" min:"1" max:"1000000000" doc:"unread records per replica"`
}

type rawNATSTrigger struct {
	Monitoring string `yaml:"monitoring" required:"true" doc:"host:port of the NATS monitoring endpoint"`
	Stream     string `yaml:"stream" required:"true" doc:"JetStream stream"`
	Consumer   string `yaml:"consumer" required:"true" doc:"JetStream consumer"`
	Lag        int    `yaml:"lag" required:"true" min:"1" max:"1000000000" doc:"unread messages per replica"`
}

type rawCronTrigger struct {
	Timezone string `yaml:"timezone" required:"true" doc:"IANA name, such as America/New_York"`
	Start    string `yaml:"start" required:"true" format:"cron" doc:"when the replicas are wanted from"`
	End      string `yaml:"end" required:"true" format:"cron" doc:"when they are no longer wanted"`
	Replicas int    `yaml:"replicas" required:"true" min:"1" max:"10000" doc:"replicas in between"`
}

type rawResources struct {
	CPU         cpu     `yaml:"cpu" required:"true" doc:"processor time, such as 250m"`
	Memory      memory  `yaml:"memory" required:"true" doc:"memory, such as 256Mi; also the limit unless memoryLimit is given"`
	CPULimit    *cpu    `yaml:"cpuLimit" doc:"hard limit of processor time; none unless given, because a throttled replica drains late"`
	MemoryLimit *memory `yaml:"memoryLimit" doc:"hard limit of memory"`
}

type rawAvailability struct {
	MinAvailable   *Count `yaml:"minAvailable" doc:"replicas that must stay, 2 or 50%"`
	MaxUnavailable *Count `yaml:"maxUnavailable" doc:"replicas that may be missing, 1 or 25%"`
}

type rawSpread struct {
	Zones rawZoneSpread `yaml:"zones" doc:"over zones"`
	Nodes rawNodeSpread `yaml:"nodes" doc:"over nodes"`
}

type rawZoneSpread struct {
	MaxSkew int  `yaml:"maxSkew" default:"1" min:"1" max:"100" doc:"largest difference in replicas between two zones"`
	Strict  bool `yaml:"strict" doc:"leave a pod pending rather than uneven; a replacement may then wait for a machine"`
}

type rawNodeSpread struct {
	MaxSkew int  `yaml:"maxSkew" default:"2" min:"1" max:"100" doc:"largest difference in replicas between two nodes"`
	Strict  bool `yaml:"strict" doc:"leave a pod pending rather than uneven"`
}

type rawDrain struct {
	PreStop string   `yaml:"preStop" default:"sleep" enum:"sleep,http,none" doc:"what happens before SIGTERM: wait, call the service, or nothing"`
	Path    string   `yaml:"path" format:"path" doc:"path that preStop http calls on the health port"`
	Delay   duration `yaml:"delay" default:"15s" max:"1h" doc:"time for load balancers and proxies to stop sending, spent in preStop sleep"`
	Grace   duration `yaml:"grace" default:"30s" min:"1s" max:"1h" doc:"time from the eviction to SIGKILL; includes the delay"`
}

type rawStateful struct {
	Size         memory `yaml:"size" required:"true" doc:"size of the volume of one replica"`
	Path         string `yaml:"path" required:"true" format:"path" doc:"where the volume is mounted"`
	StorageClass string `yaml:"storageClass" format:"dns" doc:"the cluster's default unless given"`
	Reclaim      string `yaml:"reclaim" default:"Retain" enum:"Retain,Delete" doc:"what becomes of volumes when the service is scaled down"`
}

type rawScratch struct {
	Size memory `yaml:"size" required:"true" doc:"most that it may hold"`
	Path string `yaml:"path" default:"/tmp" format:"path" doc:"where it is mounted; empty at the start, and gone with the replica"`
}

type rawLoadBalancer struct {
	Deregistration duration `yaml:"deregistration" default:"15s" max:"1h" doc:"how long the load balancer finishes requests to a target that leaves"`
	Internal       bool     `yaml:"internal" doc:"only reachable from inside of the network"`
	ReadinessGate  bool     `yaml:"readinessGate" doc:"a pod is ready only once the load balancer takes it for healthy, and leaves it before it is stopped; needs the webhook of the AWS Load Balancer Controller"`
}

type rawSLO struct {
	Availability string `yaml:"availability" required:"true" doc:"percent of requests that succeed, in quotes, such as \"99.9\""`
	Total        string `yaml:"total" doc:"counter of all requests; lifecycle's unless given"`
	Failed       string `yaml:"failed" doc:"counter of failed requests; lifecycle's unless given"`
}

type rawPolicies struct {
	Deadline      string   `yaml:"deadline" default:"delete" enum:"delete,leave" doc:"at the latest start, a pod that its budget still holds is deleted with the grace that is left, or left to die with its machine"`
	Margin        duration `yaml:"margin" default:"5s" min:"1s" max:"60s" doc:"reserve before the machine goes"`
	Rebalance     string   `yaml:"rebalance" default:"observe" enum:"ignore,observe" doc:"rebalance recommendations have no deadline: observe lets the controller count them, ignore does not send them"`
	Headroom      string   `yaml:"headroom" default:"largest-pool" enum:"largest-pool,none" doc:"room kept free by pods that give way at once"`
	PodSecurity   string   `yaml:"podSecurity" default:"restricted" enum:"restricted,baseline" doc:"pod security level of the namespace"`
	NetworkPolicy string   `yaml:"networkPolicy" default:"deny" enum:"deny,none" doc:"deny lets only declared connections through"`
}

type rawObservability struct {
	Prometheus string `yaml:"prometheus" default:"http://prometheus.monitoring:9090" format:"url" doc:"address of Prometheus inside of the cluster"`
	Namespace  string `yaml:"namespace" default:"monitoring" format:"dns" doc:"namespace that scrapes the services"`
	Runbooks   string `yaml:"runbooks" default:"https://evenkeel.dev/runbooks" format:"url" doc:"alerts link to pages below this address"`
}

type rawNotifications struct {
	Emails           []string `yaml:"emails" format:"email" doc:"subscribers of the SNS topic"`
	MonthlyBudgetUSD int      `yaml:"monthlyBudgetUSD" default:"500" min:"1" max:"10000000" doc:"spending that raises the budget alarm, in US dollars"`
}
