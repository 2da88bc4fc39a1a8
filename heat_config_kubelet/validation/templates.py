"""Judges a HOT template: every config of group kubelet in it, the deployments that use them, and their servers.

What is advised is what docs/heat.md says. Heat's own validation of the rest of a template is left to Heat.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..marks import Marks, Place, Text
from ..strict_yaml import MAX_CHARACTERS, TextError
from ..values import KUBELET_GROUP, Identity
from .configs import Config, Judge
from .functions import Evaluator, file_text, typed, with_inputs
from .heat_yaml import read
from .reports import ERROR, NOTE, WARNING, Finding
from .unknowns import Unknowns

VERSION_KEY = "heat_template_version"

_CONFIGS = ("OS::Heat::SoftwareConfig", "OS::Heat::StructuredConfig", "OS::Heat::SoftwareComponent")
_DEPLOYMENTS = ("OS::Heat::SoftwareDeployment", "OS::Heat::StructuredDeployment")
_GROUPS = tuple(f"{kind}{ending}" for kind in _DEPLOYMENTS for ending in ("Group", "s"))
_SERVERS = ("OS::Nova::Server", "OS::Heat::DeployedServer")
_INNER = {
    "OS::Heat::ResourceGroup": "resource_def",
    "OS::Heat::ResourceChain": "",
    "OS::Heat::AutoScalingGroup": "resource",
}
"""Where a resource's properties have the definition of those that it makes."""
_NAMING_THE_RESOURCE = ("CFN_SIGNAL", "HEAT_SIGNAL")
_WITHOUT_PODS = frozenset({"DELETE", "SUSPEND"})
_ACTIONS = ("CREATE", "UPDATE")
_NESTED_ENDINGS = (".yaml", ".yml", ".template", ".hot", ".json")
_MOST_NESTED = 4


@dataclass(frozen=True)
class Resource:
    """A resource of a template, or one that a group of it makes."""

    name: str
    """As it is named in faults: `web`, or `group.resource_def` for one that a group makes."""
    kind: str
    properties: dict[str, Any]
    holder: Any
    """Its definition, where its marks are."""
    place: Place
    conditional: bool = False


class Template:
    """One template, with what was found in it."""

    def __init__(
        self,
        path: Path,
        text: str,
        defaults: Mapping[str, str],
        node_name: str,
        *,
        given: Mapping[str, Any] | None = None,
        unknowns: Unknowns | None = None,
        depth: int = 0,
        file: str = "",
    ) -> None:
        self.file = file or str(path)
        self.findings: list[Finding] = []
        self.pods: list[str] = []
        self.configs = 0
        self.parts: set[Path] = set()
        """The files that it has got."""
        self._path = path
        self._depth = depth
        self._marks = Marks()
        self._defaults = defaults
        self._node_name = node_name
        self._unknowns = unknowns or Unknowns()
        self._judge = Judge(defaults, node_name, self._unknowns, self._marks)
        self._on_servers: dict[str, dict[str, str]] = {}
        try:
            template, doubled = read(text, self._marks, self.file)
        except TextError as error:
            self._note(Place(self.file, error.line, error.column), ERROR, error.what)
            return
        for place, what in doubled:
            self._note(place, WARNING, what)
        if not isinstance(template, dict):
            self._note(Place(self.file, 1, 1), ERROR, "a template must be a map")
            return
        self._evaluator = Evaluator(
            template,
            given or {},
            file=self.file,
            marks=self._marks,
            unknowns=self._unknowns,
            read_file=self._read_file,
            problem=self._problem,
        )
        self._resources = list(self._walk(template))
        self._judge_all()

    def _note(self, place: Place, severity: str, message: str, *, resource: str = "", field: str = "") -> None:
        found = Finding.at(place, severity, message, resource=resource, field=field)
        if found not in self.findings:
            self.findings.append(found)

    def _problem(self, place: Place | None, what: str) -> None:
        self._note(place or Place(self.file), ERROR, what)

    def _read_file(self, name: str) -> str:
        path, text = file_text(self._path.parent, name, MAX_CHARACTERS)
        self.parts.add(path.resolve())
        lines = [Place(str(path), number + 1, 1) for number in range(text.count("\n") + 1)]
        return Text(text, lines)

    # --- resources

    def _walk(self, template: dict[str, Any]) -> Iterator[Resource]:
        resources = template.get("resources")
        if not isinstance(resources, dict):
            if resources is not None:
                place = self._marks.at(template, "resources") or Place(self.file)
                self._note(place, ERROR, "resources: must be a map")
            return
        for name, definition in resources.items():
            place = self._marks.at(resources, name) or Place(self.file)
            yield from self._resource(str(name), definition, place, 0)

    def _resource(self, name: str, definition: Any, place: Place, depth: int) -> Iterator[Resource]:
        if not isinstance(definition, dict) or not isinstance(definition.get("type"), str) or depth > _MOST_NESTED:
            return
        properties = definition.get("properties")
        properties = properties if isinstance(properties, dict) else {}
        kind = definition["type"]
        yield Resource(name, kind, properties, definition, place, "condition" in definition)
        inner = _INNER.get(kind)
        if inner:
            index = str(properties.get("index_var", "%index%")) if kind == "OS::Heat::ResourceGroup" else ""
            made = self._indexed(properties.get(inner), index) if index else properties.get(inner)
            at = self._marks.at(properties, inner) or place
            yield from self._resource(f"{name}.{inner}", made, at, depth + 1)

    def _indexed(self, value: Any, index: str) -> Any:
        """Give a group's definition with a number in place of %index%."""
        if isinstance(value, str):
            return value.replace(index, "0") if index in value else value
        return self._marks.rebuilt(value, lambda item: self._indexed(item, index))

    def _at(self, resource: Resource, name: str) -> Place:
        """Give the place of a property, or of the resource."""
        return self._marks.at(resource.properties, name) or resource.place

    def _value(self, resource: Resource, name: str) -> Any:
        return self._evaluator.resolve(resource.properties.get(name))

    def _text(self, resource: Resource, name: str) -> str:
        """Give a property that is a text; empty where it is not there, or not known."""
        value = self._value(resource, name)
        return "" if not isinstance(value, str) or self._unknowns.of(value) else value

    # --- judging

    def _judge_all(self) -> None:
        for resource in self._resources:
            if resource.kind in _CONFIGS:
                self._judge_config(resource)
            elif resource.kind.endswith(_NESTED_ENDINGS):
                self._judge_nested(resource)

    def _judge_config(self, config: Resource) -> None:
        parts = list(self._kubelet_parts(config))
        if not parts:
            return
        self.configs += 1
        deployments = [each for each in self._resources if self._deploys(each, config)]
        if not deployments:
            self._note(config.place, NOTE, "no deployment of this template uses it", resource=config.name)
        for each in deployments:
            self._advise(config, each)
        if not self._has_error_output(config):
            what = "has no output with error_output: true, so the stack's failure text will not tell the reason"
            self._note(config.place, WARNING, what, resource=config.name, field="outputs")
        options = self._value(config, "options")
        holder = {"options": options}
        self._marks.copy(config.properties, "options", holder)
        for name, content, place in parts:
            users: list[Resource | None] = [*deployments] or [None]
            for deployment in users:
                given = self._content(config, deployment, content)
                if given is None and not isinstance(content, str):
                    given = {} if config.kind == _CONFIGS[1] else ""
                judged = self._judge.judge(
                    Config(
                        given,
                        place,
                        name,
                        Identity("", deployment.name if deployment else config.name),
                        options if isinstance(options, dict) else {},
                        holder,
                    )
                )
                for found in judged.findings:
                    if found not in self.findings:
                        self.findings.append(found)
                self._keep(judged.pods, deployment)

    def _kubelet_parts(self, config: Resource) -> Iterator[tuple[str, Any, Place]]:
        """Give what of a config the kubelet group takes: name, content, place."""
        if config.kind == "OS::Heat::SoftwareComponent":
            yield from self._component_parts(config)
            return
        group = self._text(config, "group")
        if group != KUBELET_GROUP:
            if difflib.get_close_matches(group, [KUBELET_GROUP], 1, 0.75):
                what = f'group: {group} is another tool\'s; did you mean "{KUBELET_GROUP}"?'
                self._note(self._at(config, "group"), WARNING, what, resource=config.name, field="group")
            return
        content, place = self._value(config, "config"), self._at(config, "config")
        if self._typed(config.name, config.kind == "OS::Heat::StructuredConfig", content, place):
            yield config.name, content, place

    def _component_parts(self, config: Resource) -> Iterator[tuple[str, Any, Place]]:
        parts = self._value(config, "configs")
        for index, part in enumerate(parts if isinstance(parts, list) else []):
            if not isinstance(part, dict) or part.get("tool") != KUBELET_GROUP:
                continue
            place = self._marks.at(part, "config") or self._marks.at(parts, index) or config.place
            actions = part.get("actions", list(_ACTIONS))
            if isinstance(actions, list) and all(action in _WITHOUT_PODS for action in actions):
                continue
            label = f"{config.name}.configs[{index}]"
            if self._typed(label, False, part.get("config"), place):
                yield label, part.get("config"), place

    def _typed(self, label: str, structured: bool, content: Any, place: Place) -> bool:
        """Whether Heat takes the config as it is (properties_schema of the resources)."""
        if structured and content is not None and not isinstance(content, dict) and not self._unknowns.is_word(content):
            what = "config: Heat takes a map here; for a text the type is OS::Heat::SoftwareConfig"
        elif not structured and isinstance(content, (dict, list)):
            what = "config: Heat takes a text here; for a map the type is OS::Heat::StructuredConfig"
        else:
            return True
        self._note(place, ERROR, what, resource=label, field="config")
        return False

    def _deploys(self, resource: Resource, config: Resource) -> bool:
        return resource.kind in (*_DEPLOYMENTS, *_GROUPS) and resource.properties.get("config") == {
            "get_resource": config.name
        }

    def _content(self, config: Resource, deployment: Resource | None, content: Any) -> Any:
        """Give a config as it comes to the node."""
        if config.kind != "OS::Heat::StructuredConfig" or self._unknowns.is_word(content):
            return content
        if deployment is None:
            return with_inputs(
                content,
                "get_input",
                lambda name: self._unknowns.word(f"get_input {name}: nothing gives it"),
                self._marks,
            )
        if not deployment.kind.startswith("OS::Heat::Structured"):
            return content
        key = self._text(deployment, "input_key") or "get_input"
        values, declared = self._value(deployment, "input_values"), self._value(config, "inputs")
        known = {
            each["name"]: typed(each.get("default"), each.get("type"))
            for each in (declared if isinstance(declared, list) else [])
            if isinstance(each, dict) and isinstance(each.get("name"), str)
        }
        all_unknown = self._unknowns.is_word(values) or self._unknowns.is_word(declared)

        def value(name: str) -> Any:
            if isinstance(values, dict) and name in values:
                return values[name]
            if all_unknown or name.startswith("deploy_"):
                return self._unknowns.word(f"get_input {name}: only Heat knows it")
            return known.get(name)

        return with_inputs(content, key, value, self._marks)

    def _keep(self, pods: tuple[str, ...], deployment: Resource | None) -> None:
        """Note the pods; two deployments on one server cannot have one of the same name."""
        for pod in pods:
            if pod not in self.pods:
                self.pods.append(pod)
            if deployment is None or deployment.conditional:
                continue
            server = deployment.properties.get("server") or deployment.properties.get("servers")
            on_server = self._on_servers.setdefault(json.dumps(server, sort_keys=True, default=str), {})
            other = on_server.setdefault(pod, deployment.name)
            if other != deployment.name and server is not None:
                what = f"pod {pod}: deployment {other} has a pod of that name; give one of them another metadata.name"
                self._note(deployment.place, ERROR, what, resource=deployment.name)

    def _has_error_output(self, config: Resource) -> bool:
        outputs = self._value(config, "outputs")
        if not isinstance(outputs, list):
            return outputs is not None  # one that only Heat knows
        return any(isinstance(each, dict) and str(each.get("error_output", "")).lower() == "true" for each in outputs)

    # --- advice

    def _advise(self, config: Resource, deployment: Resource) -> None:
        self._advise_signal(config, deployment)
        server = deployment.properties.get("server")
        servers = deployment.properties.get("servers")
        for each in self._resources:
            if each.kind in _SERVERS and (_names(server, each.name) or _names(servers, each.name)):
                self._advise_server(each)

    def _advise_signal(self, config: Resource, deployment: Resource) -> None:
        transport = self._text(deployment, "signal_transport")
        at = self._at(deployment, "signal_transport")

        def warn(place: Place, what: str, field: str = "signal_transport") -> None:
            self._note(place, WARNING, what, resource=deployment.name, field=field)

        better = "set TEMP_URL_SIGNAL, or HEAT_SIGNAL where the cloud has no Swift"
        if "signal_transport" not in deployment.properties:
            warn(
                at, f"has no signal_transport: Heat's default is CFN_SIGNAL, whose URL ends after 15 minutes; {better}"
            )
        elif transport == "CFN_SIGNAL":
            warn(at, f"signal_transport: a CFN_SIGNAL's URL ends after 15 minutes; {better}")
        elif transport == "NO_SIGNAL":
            warn(at, f"signal_transport: with NO_SIGNAL it is COMPLETE at once, whatever the pods do; {better}")
        if not transport and "signal_transport" in deployment.properties:
            return  # only Heat knows it
        if "DELETE" in self._actions(config, deployment) and (not transport or transport in _NAMING_THE_RESOURCE):
            what = (
                f"DELETE among the actions and {transport or 'CFN_SIGNAL'}: Heat may give that signal to another "
                "deployment and wait until its timeout; set TEMP_URL_SIGNAL or ZAQAR_SIGNAL"
            )
            warn(self._at(deployment, "actions"), what, "actions")

    def _actions(self, config: Resource, deployment: Resource) -> list[Any]:
        if config.kind != "OS::Heat::SoftwareComponent":
            actions = self._value(deployment, "actions")
            return actions if isinstance(actions, list) else []
        parts = self._value(config, "configs")
        return [
            action
            for part in (parts if isinstance(parts, list) else [])
            if isinstance(part, dict) and isinstance(part.get("actions"), list)
            for action in part["actions"]
        ]

    def _advise_server(self, server: Resource) -> None:
        def note(severity: str, field: str, what: str) -> None:
            self._note(self._at(server, field), severity, what, resource=server.name, field=field)

        if server.kind == "OS::Nova::Server":
            form = self._text(server, "user_data_format")
            if "user_data_format" not in server.properties:
                note(WARNING, "user_data_format", "needs user_data_format: SOFTWARE_CONFIG for its deployments")
            elif form and form != "SOFTWARE_CONFIG":
                what = f"user_data_format: must be SOFTWARE_CONFIG for its deployments, not {form}"
                note(ERROR, "user_data_format", what)
        transport = self._text(server, "software_config_transport")
        refused = "Heat's own policy refuses since 2024.1; set POLL_SERVER_HEAT"
        if "software_config_transport" not in server.properties:
            what = f"has no software_config_transport: Heat's default is POLL_SERVER_CFN, which {refused}"
            note(WARNING, "software_config_transport", what)
        elif transport == "POLL_SERVER_CFN":
            note(WARNING, "software_config_transport", f"software_config_transport: POLL_SERVER_CFN is what {refused}")

    # --- templates in templates

    def _judge_nested(self, resource: Resource) -> None:
        try:
            path, text = file_text(self._path.parent, resource.kind, MAX_CHARACTERS)
        except (OSError, ValueError):
            return  # a type of an environment's registry, or a template that Heat's client will miss
        if self._depth >= _MOST_NESTED:
            return
        self.parts.add(path.resolve())
        given = self._evaluator.resolve(resource.properties)
        nested = Template(
            path,
            text,
            self._defaults,
            self._node_name,
            given=given if isinstance(given, dict) else {},
            unknowns=self._unknowns,
            depth=self._depth + 1,
        )
        self.findings += [each for each in nested.findings if each not in self.findings]
        self.configs += nested.configs
        self.parts |= nested.parts
        self.pods += [pod for pod in nested.pods if pod not in self.pods]


def _names(value: Any, resource: str) -> bool:
    """Whether a deployment's server or servers are this resource, or the group that makes it."""
    name = resource.split(".")[0]
    if isinstance(value, dict):
        for key, argument in value.items():
            if key == "get_resource" and argument == name:
                return True
            if key == "get_attr" and isinstance(argument, list) and argument[:1] == [name]:
                return True
        return any(_names(item, resource) for item in value.values())
    return isinstance(value, list) and any(_names(item, resource) for item in value)
