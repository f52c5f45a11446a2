"""Decodes an OTLP profiles request with the protobuf runtime of Python and the messages
that the OpenTelemetry project publishes, and prints what it says, a line a sample."""
import sys

from opentelemetry.proto.collector.profiles.v1development import profiles_service_pb2

request = profiles_service_pb2.ExportProfilesServiceRequest()
data = open(sys.argv[1], "rb").read()
request.ParseFromString(data)
unknown = type(request)()
unknown.CopyFrom(request)
unknown.DiscardUnknownFields()
assert unknown.SerializeToString() == request.SerializeToString(), "fields it does not know"

d = request.dictionary
for resource in request.resource_profiles:
    attributes = {a.key: a.value for a in resource.resource.attributes}
    service = attributes["service.name"].string_value
    for profile in (p for s in resource.scope_profiles for p in s.profiles):
        for sample in profile.samples:
            frames = []
            for location in d.stack_table[sample.stack_index].location_indices:
                for line in d.location_table[location].lines:
                    name = d.function_table[line.function_index].name_strindex
                    frames.append(d.string_table[name])
            own = [d.attribute_table[i] for i in sample.attribute_indices]
            own = {d.string_table[a.key_strindex]: a.value for a in own}
            route = own["http.route"].string_value if "http.route" in own else "-"
            span = d.link_table[sample.link_index].span_id.hex() or "-"
            count = len(sample.timestamps_unix_nano) or sum(sample.values)
            print(service, count, route, span, ";".join(frames) or "-", sep="\t")
