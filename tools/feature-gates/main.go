// Feature-gates prints every feature gate that a Kubernetes version has, as its programs themselves know them.
//
// It is compiled for one version at a time, with the go.mod and go.sum of that version's programs, by
// `python -m kharden.artifacts.gates`, and never runs on a node.
package main

import (
	"encoding/json"
	"log"
	"os"
	"slices"

	utilfeature "k8s.io/apiserver/pkg/util/feature"
	"k8s.io/component-base/featuregate"
	logs "k8s.io/component-base/logs/api/v1"
	metrics "k8s.io/component-base/metrics/features"
	controllermanager "k8s.io/controller-manager/pkg/features"

	// It registers what every program of Kubernetes knows.
	_ "k8s.io/kubernetes/pkg/features"
)

type gate struct {
	Stage   string   `json:"stage"`
	Default bool     `json:"default"`
	Locked  bool     `json:"locked"`
	Needs   []string `json:"needs"`
	Unknown []string `json:"unknown"`
}

var stages = map[string]string{"": "ga", "ALPHA": "alpha", "BETA": "beta", "DEPRECATED": "deprecated"}

func main() {
	registry := utilfeature.DefaultMutableFeatureGate
	must(logs.AddFeatureGates(registry))
	must(metrics.AddFeatureGates(registry))
	known := registry.GetAll()
	dependencies := registry.Dependencies()
	// Those of the package k8s.io/controller-manager are registered besides in all programs but the scheduler.
	must(controllermanager.SetupCurrentKubernetesSpecificFeatureGates(registry))
	found := map[featuregate.Feature]gate{}
	for name, spec := range registry.GetAll() {
		stage, ok := stages[string(spec.PreRelease)]
		if !ok {
			continue // of a later version
		}
		one := gate{Stage: stage, Default: spec.Default, Locked: spec.LockToDefault, Needs: []string{}, Unknown: []string{}}
		for _, needed := range dependencies[name] {
			one.Needs = append(one.Needs, string(needed))
		}
		slices.Sort(one.Needs)
		if _, everywhere := known[name]; !everywhere {
			one.Unknown = append(one.Unknown, "kube-scheduler")
		}
		found[name] = one
	}
	must(json.NewEncoder(os.Stdout).Encode(found))
}

func must(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
