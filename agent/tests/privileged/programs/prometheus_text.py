"""Reads the Prometheus text format from standard input with the parser of the Prometheus
project's own client, and writes its samples as JSON, one a line. Fails on what the parser
refuses, and on histograms whose buckets do not add up."""
import collections
import json
import sys

from prometheus_client.parser import text_string_to_metric_families

for family in text_string_to_metric_families(sys.stdin.read()):
    buckets, counts = collections.defaultdict(list), {}
    for sample in family.samples:
        line = {"family": family.name, "type": family.type, "name": sample.name}
        print(json.dumps({**line, "labels": sample.labels, "value": sample.value}))
        labels = {**sample.labels}
        bound = labels.pop("le", None)
        key = tuple(sorted(labels.items()))
        if sample.name.endswith("_bucket"):
            buckets[key].append((float(bound), sample.value))
        elif family.type == "histogram" and sample.name.endswith("_count"):
            counts[key] = sample.value
    for key, all_of in buckets.items():
        assert all_of == sorted(all_of), (family.name, key, all_of)
        assert len({bound for bound, _ in all_of}) == len(all_of), (family.name, key)
        assert all_of[-1] == (float("inf"), counts[key]), (family.name, key)
    assert buckets.keys() == (counts.keys() if family.type == "histogram" else set())
