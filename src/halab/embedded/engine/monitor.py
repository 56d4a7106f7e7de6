"""The gRPC face of a deployment: Pulumi's ResourceMonitor and Engine services for one program."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NoReturn

# Providers fork children; gRPC's fork handlers would only print about it.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")

import grpc  # type: ignore[import-untyped]
from google.protobuf import empty_pb2  # type: ignore[import-untyped]
from pulumi.runtime.proto import (
    engine_pb2,
    engine_pb2_grpc,
    provider_pb2,
    resource_pb2,
    resource_pb2_grpc,
)

from halab.embedded.engine import goal as goals
from halab.embedded.engine import state, values
from halab.embedded.engine.deployment import Deployment
from halab.embedded.engine.errors import CancelledError, EngineError, UnsupportedError
from halab.embedded.engine.events import Diagnostic, ResourceLog, Severity

# A slow create holds its thread: there must be more of them than the program has calls under way.
WORKERS = 1024
MESSAGE_BYTES = 400 * 1024 * 1024
LOOPBACK = "127.0.0.1"

_FEATURES = (
    resource_pb2.RESOURCE_MONITOR_FEATURE_SECRETS,
    resource_pb2.RESOURCE_MONITOR_FEATURE_RESOURCE_REFERENCES,
    resource_pb2.RESOURCE_MONITOR_FEATURE_DELETED_WITH,
    resource_pb2.RESOURCE_MONITOR_FEATURE_REPLACE_WITH,
    resource_pb2.RESOURCE_MONITOR_FEATURE_REPLACEMENT_TRIGGER,
    # Not served, but the SDK then asks and gets an error that says so, instead of advice to update the Pulumi CLI.
    resource_pb2.RESOURCE_MONITOR_FEATURE_TRANSFORMS,
    resource_pb2.RESOURCE_MONITOR_FEATURE_INVOKE_TRANSFORMS,
    resource_pb2.RESOURCE_MONITOR_FEATURE_RESOURCE_HOOKS,
    resource_pb2.RESOURCE_MONITOR_FEATURE_ERROR_HOOKS,
)
_RESULTS = {
    "": resource_pb2.Result.SUCCESS,
    "failed": resource_pb2.Result.FAIL,
    "skipped": resource_pb2.Result.FAIL,
}
_SEVERITIES: dict[int, Severity] = {
    engine_pb2.DEBUG: "debug",
    engine_pb2.INFO: "info",
    engine_pb2.WARNING: "warning",
    engine_pb2.ERROR: "error",
}
_UNSERVED = {
    "ReadResource": "reading an existing resource (.get, StackReference)",
    "Call": "methods of remote components",
    "RegisterPackage": "parameterized packages",
    "RegisterStackTransform": "stack transforms",
    "RegisterStackInvokeTransform": "invoke transforms",
    "RegisterResourceHook": "resource hooks",
    "RegisterErrorHook": "error hooks",
    "ExistsResource": "existence checks",
}


def _refuse(context: Any, error: Exception) -> NoReturn:
    code = grpc.StatusCode.UNKNOWN
    if isinstance(error, UnsupportedError):
        code = grpc.StatusCode.UNIMPLEMENTED
    elif isinstance(error, CancelledError):
        code = grpc.StatusCode.CANCELLED
    context.abort(code, str(error) or type(error).__name__)
    raise AssertionError("abort returned")


def _guarded(method: Callable[[Any, Any, Any], Any]) -> Callable[[Any, Any, Any], Any]:
    """Turns what the engine raises into the gRPC error that the program prints."""

    def call(self: Any, request: Any, context: Any) -> Any:
        try:
            return method(self, request, context)
        except (EngineError, ValueError, OSError, KeyError) as error:
            _refuse(context, error)

    return call


class Monitor(resource_pb2_grpc.ResourceMonitorServicer):
    """ResourceMonitor: what the SDK calls for every resource of the program."""

    def __init__(self, deployment: Deployment) -> None:
        self._deployment = deployment

    def GetDeploymentInfo(self, request: Any, context: Any) -> Any:
        return resource_pb2.DeploymentInfo(supportedFeatures=_FEATURES)

    def SupportsFeature(self, request: Any, context: Any) -> Any:
        known = request.id in ("secrets", "resourceReferences", "deletedWith", "replaceWith")
        return resource_pb2.SupportsFeatureResponse(hasSupport=known)

    @_guarded
    def RegisterResource(self, request: Any, context: Any) -> Any:
        run = self._deployment
        goal = goals.decode(request, run.stack, run.project, run.root, run.goals)
        outcome = run.register(goal)
        return resource_pb2.RegisterResourceResponse(
            urn=outcome.urn,
            id=outcome.id,
            object=values.encode(outcome.outputs),
            result=_RESULTS[outcome.lost],
            unknown=outcome.unknown,
        )

    @_guarded
    def RegisterResourceOutputs(self, request: Any, context: Any) -> Any:
        self._deployment.register_outputs(request.urn, values.decode(request.outputs, self._deployment.root))
        return empty_pb2.Empty()

    @_guarded
    def Invoke(self, request: Any, context: Any) -> Any:
        if request.tok != "pulumi:pulumi:getResource":
            raise UnsupportedError(f"the embedded engine does not serve the function {request.tok} (try --engine cli)")
        found = self._deployment.get_resource(values.decode(request.args, self._deployment.root)["urn"])
        return provider_pb2.InvokeResponse(**{"return": values.encode(found)})

    @_guarded
    def SignalAndWaitForShutdown(self, request: Any, context: Any) -> Any:
        self._deployment.finish()
        return empty_pb2.Empty()


def _unserved(name: str, what: str) -> Callable[[Any, Any, Any], Any]:
    def call(self: Any, request: Any, context: Any) -> Any:
        asked = getattr(request, "tok", "") or getattr(request, "type", "") or getattr(request, "name", "")
        about = f" ({asked})" if isinstance(asked, str) and asked else ""
        _refuse(context, UnsupportedError(f"the embedded engine does not serve {what}{about} (try --engine cli)"))

    call.__name__ = name
    return call


for _name, _what in _UNSERVED.items():
    if hasattr(resource_pb2_grpc.ResourceMonitorServicer, _name):
        setattr(Monitor, _name, _unserved(_name, _what))


class EngineService(engine_pb2_grpc.EngineServicer):
    """Engine: the program's log, and the root resource for SDKs that keep it here."""

    def __init__(self, deployment: Deployment) -> None:
        self._deployment = deployment
        self._root = ""

    def Log(self, request: Any, context: Any) -> Any:
        severity = _SEVERITIES.get(request.severity, "info")
        if severity == "debug":
            return empty_pb2.Empty()
        urn = "" if not request.urn or state.urn_type(request.urn) == state.STACK_TYPE else request.urn
        if severity == "error":
            self._deployment.program_error(urn, request.message)
        else:
            text = request.message
            self._deployment.emit(ResourceLog(urn, severity, text) if urn else Diagnostic(severity, text))
        return empty_pb2.Empty()

    def GetRootResource(self, request: Any, context: Any) -> Any:
        return engine_pb2.GetRootResourceResponse(urn=self._root)

    def SetRootResource(self, request: Any, context: Any) -> Any:
        self._root = request.urn
        return engine_pb2.SetRootResourceResponse()

    def RequirePulumiVersion(self, request: Any, context: Any) -> Any:
        return engine_pb2.RequirePulumiVersionResponse()


class Server:
    """Serves one deployment on a loopback port of its own until `stop`."""

    def __init__(self, deployment: Deployment) -> None:
        self._pool = ThreadPoolExecutor(max_workers=WORKERS, thread_name_prefix="monitor")
        limits = [("grpc.max_send_message_length", MESSAGE_BYTES), ("grpc.max_receive_message_length", MESSAGE_BYTES)]
        self._server = grpc.server(self._pool, options=limits)
        resource_pb2_grpc.add_ResourceMonitorServicer_to_server(Monitor(deployment), self._server)
        engine_pb2_grpc.add_EngineServicer_to_server(EngineService(deployment), self._server)
        self.address = f"{LOOPBACK}:{self._server.add_insecure_port(f'{LOOPBACK}:0')}"
        self._server.start()

    def stop(self) -> None:
        """Ends the service; calls under way are not waited for here (the deployment is)."""
        ended: threading.Event = self._server.stop(grace=None)
        ended.wait()
        self._pool.shutdown(wait=True)
