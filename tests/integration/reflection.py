"""gRPC without generated stubs: messages and methods come from the server's reflection service."""

import grpc
from google.protobuf import json_format, message_factory
from google.protobuf.descriptor_pb2 import FieldDescriptorProto, FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from google.rpc import error_details_pb2, status_pb2
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase


def health_file():
    """What Health.Check needs of grpc/health/v1/health.proto."""
    file = FileDescriptorProto(name="health.proto", package="grpc.health.v1", syntax="proto3")
    field = FieldDescriptorProto(number=1, label=FieldDescriptorProto.LABEL_OPTIONAL)
    for message, name, kind in (
        ("HealthCheckRequest", "service", FieldDescriptorProto.TYPE_STRING),
        ("HealthCheckResponse", "status", FieldDescriptorProto.TYPE_INT32),  # an enum; on the wire the same
    ):
        field.name, field.type = name, kind
        file.message_type.add(name=message).field.append(field)
    check = file.service.add(name="Health").method.add(name="Check")
    check.input_type, check.output_type = ".grpc.health.v1.HealthCheckRequest", ".grpc.health.v1.HealthCheckResponse"
    return file


class Api:
    def __init__(self, address):
        self.channel = grpc.insecure_channel(address)
        self.database = ProtoReflectionDescriptorDatabase(self.channel)
        # A pool of its own instead of one that asks the database as it goes: that one deadlocks when threads share it.
        self.pool = DescriptorPool()
        added = set()

        def add(file):
            if file.name not in added:
                added.add(file.name)
                for name in file.dependency:
                    add(self.database.FindFileByName(name))
                self.pool.Add(file)

        for service in self.services():
            if service == "grpc.health.v1.Health":
                self.pool.Add(health_file())  # gRPC's own implementation of it has no descriptor to reflect
            else:
                add(self.database.FindFileContainingSymbol(service))

    def __enter__(self):
        return self

    def __exit__(self, *unused):
        self.channel.close()

    def services(self):
        return list(self.database.get_services())

    def message(self, full_name, values):
        cls = message_factory.MessageFactory(self.pool).GetPrototype(self.pool.FindMessageTypeByName(full_name))
        return json_format.ParseDict(values, cls())

    def _method(self, service, method):
        descriptor = self.pool.FindServiceByName(service).FindMethodByName(method)
        factory = message_factory.MessageFactory(self.pool)
        return descriptor.input_type.full_name, factory.GetPrototype(descriptor.output_type)

    def unary(self, service, method, values, timeout=60):
        input_name, output = self._method(service, method)
        call = self.channel.unary_unary(
            f"/{service}/{method}", request_serializer=lambda m: m.SerializeToString(), response_deserializer=output.FromString
        )
        return call(self.message(input_name, values), timeout=timeout)

    def stream(self, service, method, values, timeout=None):
        """The call: iterate over it, or cancel() it."""
        input_name, output = self._method(service, method)
        call = self.channel.unary_stream(
            f"/{service}/{method}", request_serializer=lambda m: m.SerializeToString(), response_deserializer=output.FromString
        )
        return call(self.message(input_name, values), timeout=timeout)

    def client_stream(self, service, method, values, timeout=60):
        """Sends what the iterator `values` gives, then returns the answer."""
        input_name, output = self._method(service, method)
        call = self.channel.stream_unary(
            f"/{service}/{method}", request_serializer=lambda m: m.SerializeToString(), response_deserializer=output.FromString
        )
        return call((self.message(input_name, v) for v in values), timeout=timeout)


def details(error):
    """(ErrorInfo, BadRequest or None) of a gRPC error."""
    info, bad_request = None, None
    for key, value in error.trailing_metadata() or ():
        if key == "grpc-status-details-bin":
            for detail in status_pb2.Status.FromString(value).details:
                if detail.Is(error_details_pb2.ErrorInfo.DESCRIPTOR):
                    info = error_details_pb2.ErrorInfo()
                    detail.Unpack(info)
                if detail.Is(error_details_pb2.BadRequest.DESCRIPTOR):
                    bad_request = error_details_pb2.BadRequest()
                    detail.Unpack(bad_request)
    assert info is not None, f"no ErrorInfo in {error!r}"
    assert info.domain == "linnet"
    return info, bad_request


def retry_delay(error):
    """Seconds of the error's RetryInfo; 0 where it has none."""
    for key, value in error.trailing_metadata() or ():
        if key == "grpc-status-details-bin":
            for detail in status_pb2.Status.FromString(value).details:
                if detail.Is(error_details_pb2.RetryInfo.DESCRIPTOR):
                    info = error_details_pb2.RetryInfo()
                    detail.Unpack(info)
                    return info.retry_delay.ToTimedelta().total_seconds()
    return 0
