package lint

// Rules returns all rules in the order of their identifiers.
func Rules() []Rule {
	return []Rule{
		// Disruption budgets
		budgetBlocks(),
		budgetMatchesNothing(),
		budgetBothLimits(),
		budgetsOverlap(),
		budgetSpans(),
		unreadyBlock(),
		floorUnderBudget(),
		zeroUnderBudget(),
		noBudget(),
		// Termination
		preStopFillsGrace(),
		graceBeyondNotice(),
		deregistrationBeyondNotice(),
		shellSwallowsSIGTERM(),
		noReadiness(),
		noGrace(),
		balancerUntilTheEnd(),
		// Replicas and placement
		singleReplica(),
		noSpread(),
		oneDomain(),
		spreadMissesSelf(),
		spreadCannotBeMet(),
		taintNotTolerated(),
		zonalVolumeOneZone(),
		volumeBoundEarly(),
		recreateOnSpot(),
		localStorage(),
		hostPortConflict(),
		noRequests(),
		vetoIgnored(),
		jobFailsForGood(),
		// Pools and the cloud around them
		fewInstanceTypes(),
		oneZonePool(),
		capacityLabelTypo(),
		imdsV1(),
		iamWildcard(),
		queueNoDeadLetter(),
		queuePlain(),
		// The linter itself
		ignoreWithoutReason(),
	}
}

// IDs returns the identifiers of all rules. It is written out rather than taken
// from Rules so that a rule can ask for it; a test keeps the two alike.
func IDs() []string {
	return []string{
		"EK001", "EK002", "EK003", "EK004", "EK005", "EK006", "EK007", "EK008", "EK009",
		"EK010", "EK011", "EK012", "EK013", "EK014", "EK015", "EK016",
		"EK020", "EK021", "EK022", "EK023", "EK024", "EK025", "EK026", "EK027", "EK028", "EK029", "EK030", "EK031", "EK032", "EK033",
		"EK040", "EK041", "EK042", "EK043", "EK044", "EK045", "EK046",
		"EK090",
	}
}

// ByID returns the rule with an identifier.
func ByID(id string) (Rule, bool) {
	for _, r := range Rules() {
		if r.ID == id {
			return r, true
		}
	}
	return Rule{}, false
}
