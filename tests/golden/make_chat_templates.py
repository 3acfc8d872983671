#!/usr/bin/env python3
"""Renders conversations with chat templates by Transformers' apply_chat_template.

  make_chat_templates.py MODEL.gguf              writes chat_templates.json beside this script: of the templates below, and
                                                 of the one in the file (the real SmolLM2's)
  make_chat_templates.py --folder FOLDER OUT MODEL.gguf
                                                 the same of every *.jinja in the folder, with BOS and EOS of the model;
                                                 tests/peers/chat_templates.sh compares what Linnet makes of them

Runs in the peers' root: tools/dev peers python3 tests/golden/make_chat_templates.py ...
"""
import copy
import json
import pathlib
import sys

import gguf
import transformers
from tokenizers import Tokenizer, models

HERE = pathlib.Path(__file__).resolve().parent

TEMPLATES = {
    "qwen2": "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}{{ '<|im_start|>system\\n"
    "You are a helpful assistant.<|im_end|>\\n' }}{% endif %}{{'<|im_start|>' + message['role'] + '\\n' + "
    "message['content'] + '<|im_end|>' + '\\n'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}"
    "{% endif %}",
    "llama3": "{% set loop_messages = messages %}{% for message in loop_messages %}{% set content = '<|start_header_id|>' + "
    "message['role'] + '<|end_header_id|>\\n\\n'+ message['content'] | trim + '<|eot_id|>' %}{% if loop.index0 == 0 %}"
    "{% set content = bos_token + content %}{% endif %}{{ content }}{% endfor %}{% if add_generation_prompt %}"
    "{{ '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}{% endif %}",
    "mistral": "{%- if messages[0][\"role\"] == \"system\" %}\n    {%- set system_message = messages[0][\"content\"] %}\n"
    "    {%- set loop_messages = messages[1:] %}\n{%- else %}\n    {%- set loop_messages = messages %}\n{%- endif %}\n"
    "{{- bos_token }}\n{%- for message in loop_messages %}\n    {%- if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}\n"
    "        {{- raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}\n    {%- endif %}\n"
    "    {%- if message[\"role\"] == \"user\" %}\n        {%- if loop.last and system_message is defined %}\n"
    "            {{- \"[INST] \" + system_message + \"\\n\\n\" + message[\"content\"] + \"[/INST]\" }}\n        {%- else %}\n"
    "            {{- \"[INST] \" + message[\"content\"] + \"[/INST]\" }}\n        {%- endif %}\n    {%- else %}\n"
    "        {{- \" \" + message[\"content\"] + eos_token}}\n    {%- endif %}\n{%- endfor %}\n",
    "role": "{% for message in messages %}\n{{'<|' + message['role'] + '|>' + '\\n' + message['content'] + eos_token }}\n"
    "{% if loop.last and add_generation_prompt %}\n{{ '<|assistant|>' }}\n{% endif %}\n{% endfor %}",
    "namespace": "{%- set ns = namespace(system='', count=0) %}\n{%- for message in messages %}\n"
    "    {%- if message.role == 'system' %}\n        {%- set ns.system = message.content | trim %}\n    {%- else %}\n"
    "        {%- set ns.count = ns.count + 1 %}\n    {%- endif %}\n{%- endfor %}\n{{- bos_token -}}\n"
    "{%- if ns.system %}{{ '[S]' ~ ns.system | tojson ~ '[/S]' }}{% endif %}\n"
    "{%- macro turn(name, text) -%}\n{{ '<' ~ name ~ '>' }}{{ text.strip().split('</think>')[-1].lstrip('\\n') }}{{ '</' ~ name ~ '>' }}\n"
    "{%- endmacro -%}\n{%- for message in messages if message['role'] in ['user', 'assistant'] %}\n"
    "    {{- turn(message['role'], message['content']) }}\n    {%- if not loop.last %}{{ ns.count }}|{% endif %}\n{%- endfor %}\n"
    "{%- if add_generation_prompt and messages[-1]['role'] != 'assistant' %}{{ '<assistant>' }}{% endif %}",
    # What templates with tools are made of: a tool per line as JSON, calls with arguments, answers in a user's turn.
    "tools": "{%- if tools %}\n    {{- '<|im_start|>system\\n' }}\n    {%- if messages[0].role == 'system' %}\n"
    "        {{- messages[0].content + '\\n\\n' }}\n    {%- endif %}\n    {{- '<tools>' }}\n    {%- for tool in tools %}\n"
    "        {{- '\\n' }}\n        {{- tool | tojson }}\n    {%- endfor %}\n    {{- '\\n</tools><|im_end|>\\n' }}\n{%- endif %}\n"
    "{%- for message in messages %}\n    {%- if (message.role == 'user') or (message.role == 'assistant' and not "
    "message.tool_calls) %}\n        {{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>' + '\\n' }}\n"
    "    {%- elif message.role == 'assistant' %}\n        {{- '<|im_start|>' + message.role }}\n        {%- if message.content %}\n"
    "            {{- '\\n' + message.content }}\n        {%- endif %}\n        {%- for tool_call in message.tool_calls %}\n"
    "            {%- if tool_call.function is defined %}\n                {%- set tool_call = tool_call.function %}\n"
    "            {%- endif %}\n            {{- '\\n<tool_call>\\n{\"name\": \"' }}\n            {{- tool_call.name }}\n"
    "            {{- '\", \"arguments\": ' }}\n            {{- tool_call.arguments | tojson }}\n            {{- '}\\n</tool_call>' }}\n"
    "        {%- endfor %}\n        {{- '<|im_end|>\\n' }}\n    {%- elif message.role == 'tool' %}\n"
    "        {%- if (loop.index0 == 0) or (messages[loop.index0 - 1].role != 'tool') %}\n            {{- '<|im_start|>user' }}\n"
    "        {%- endif %}\n        {{- '\\n<tool_response>\\n' + message.content + '\\n</tool_response>' }}\n"
    "        {%- if loop.last or (messages[loop.index0 + 1].role != 'tool') %}\n            {{- '<|im_end|>\\n' }}\n"
    "        {%- endif %}\n    {%- endif %}\n{%- endfor %}\n{%- if add_generation_prompt %}\n    {{- '<|im_start|>assistant\\n' }}\n"
    "{%- endif %}\n",
    # Indented JSON, a description that may be empty, the parameters' names and types one by one, and ids of calls.
    "schema": "{%- if tools is not none and tools is defined %}{% for tool in tools %}{% set f = tool.function %}"
    "{{ f.name }}: {{ f.description | default('', true) }}\n{% for name, schema in f.parameters.properties.items() %}"
    "- {{ name }} {{ schema.description | trim }}({{ schema.type }}{% if name in f.parameters.required %}, required{% endif %})"
    "{{ ' one of ' ~ schema.enum | "
    "join(', ') if schema.enum is defined else '' }}\n{% endfor %}{{ f.parameters | tojson(indent=4) }}\n{% endfor %}{% endif %}"
    "{% for m in messages %}[{{ m.role }}{{ ' ' + m.name if m.name is defined else '' }}{{ '#' + m.tool_call_id if "
    "m.tool_call_id is defined else '' }}]{{ m['content'] }}{% for c in m.tool_calls or [] %}<{{ c.id | default('-') }} "
    "{{ c.function.name }}{% for k, v in c.function.arguments.items() %} {{ k }}={{ v | tojson }}{% endfor %}>{% endfor %}{% endfor %}",
    # Jinja's whitespace control: of expressions, blocks and comments, indented and not, with signs and without.
    "whitespace": "  {# first #}\n  {%- set a = '%} {{' %}\n  {% set b = {'k': {'v': '}}'}} -%}  \n x \n\t{% if a %}  \n    {{ a }}\n"
    "    {%+ if b %}  {{- b['k']['v'] -}}  {% endif +%}\n{# c -#}\n\n  y\r\n  {% for m in messages %}\r\n   {{ m['role'] }}:\n"
    "      {{ m.content }}\n  {# {{ nothing }} #}\n{%- endfor %}\n\n   {% endif %}  z {% raw %} {{ 'raw' }}\n {% if %} {% endraw %}\n"
    "{{ eos_token }}\n\n",
    # Filters and tests that templates use.
    "filters": "{{ messages | map(attribute='role') | join(',') | title }} {{ 'a-bC d' | title }} {{ 'aBC' | capitalize }} "
    "{{ (messages | first).role }} {{ (messages | last).role }} {{ messages | selectattr('role', 'eq', 'user') | list | length }} "
    "{{ messages | rejectattr('role', 'equalto', 'user') | list | length }} {{ messages | selectattr('role', 'in', ['user', 'tool']) "
    "| list | length }} {{ messages | selectattr('tool_calls', 'undefined') | list | length }} "
    "{{ [3, 1, 2] | reverse | list | tojson }} {{ 'x.y' | replace('.', '::') }} {{ ['a', 'b'] | select('ne', 'a') | join }} "
    "{{ '-3' | int | abs }} {{ '1.5' | float }} {{ x is undefined }} {{ x is not undefined }} {{ messages is not undefined }} "
    "{{ {'b': [1, {}], 'a': {'c': []}} | tojson(indent=2) }} {{ {'b': 1, 'a': 2} | tojson(sort_keys=True) }} "
    "{{ {'b': [1, 2]} | tojson(separators=(',', ':')) }} {{ messages[::-1][0].content | tojson }}",
}

WEATHER = {"type": "function", "function": {
    "name": "get_weather", "description": "The weather at a place, in \u00b0C or \u00b0F.",
    "parameters": {"type": "object", "properties": {
        "city": {"type": "string", "description": "Name of the city, \"Paris\" for example"},
        "unit": {"type": "string", "enum": ["celsius", "fahrenheit"]},
        "days": {"type": "integer", "minimum": 1}}, "required": ["city"]}}}
TIME = {"type": "function", "function": {"name": "now", "description": "", "parameters": {"type": "object", "properties": {},
                                                                                        "required": []}}}


def call(name, arguments, id="call00001"):
    return {"id": id, "type": "function", "function": {"name": name, "arguments": arguments}}


def turns(*pairs):
    return {"messages": [{"role": role, "content": content} for role, content in pairs]}


CONVERSATIONS = {
    "one": turns(("user", "Hello!")),
    "system": turns(("system", "You are terse."), ("user", "What is the capital of France?")),
    "turns": turns(("user", "Hi"), ("assistant", "Hello! How can I help?"), ("user", "Tell me a joke.")),
    "system and turns": turns(("system", "  Be kind.  \n"), ("user", "1+1?"), ("assistant", "<think>easy</think>\n\n2"),
                              ("user", "and 2+2?")),
    "empty content": turns(("user", "")),
    "empty system": turns(("system", ""), ("user", "Hi")),
    "spaces": turns(("user", "  leading and trailing \n\n")),
    "quotes": turns(("system", "Say \"yes\" & 'no' <b>\\n</b>"), ("user", "It's {{ 7*7 }} {% if x %} {# c #}")),
    "unicode": turns(("user", "\u4f60\u597d \U0001f600 caf\u00e9 \u0645\u0631\u062d\u0628\u0627")),
    "lines": turns(("user", "line one\nline two\r\n\tline three")),
    "code": turns(("user", "def f(x):\n    return x ** 2\n"), ("assistant", "```python\nprint(f(3))\n```"), ("user", "why?")),
    "not alternating": turns(("user", "a"), ("user", "b")),
    "assistant last": turns(("user", "a"), ("assistant", "b")),
    "tools": turns(("system", "Be exact."), ("user", "Weather in Oslo?")) | {"tools": [WEATHER, TIME]},
    "tools without system": turns(("user", "What time is it?")) | {"tools": [TIME]},
    "a call and its answer": {
        "messages": [
            {"role": "user", "content": "Weather in Oslo?"},
            {"role": "assistant", "content": "", "tool_calls": [call("get_weather", {"city": "Oslo", "days": 2})]},
            {"role": "tool", "content": "{\"temperature\": -3.5}", "tool_call_id": "call00001", "name": "get_weather"},
            {"role": "assistant", "content": "It is -3.5 \u00b0C."},
            {"role": "user", "content": "And \"now\"?"}],
        "tools": [WEATHER, TIME]},
    "two calls": {
        "messages": [
            {"role": "system", "content": "Be exact."},
            {"role": "user", "content": "Weather and time?"},
            {"role": "assistant", "content": "Let me look.", "tool_calls": [
                call("get_weather", {"city": "\u00c5s", "unit": "celsius", "nested": {"a": [1, 2.5, True, None]}}),
                call("now", {}, "call00002")]},
            {"role": "tool", "content": "cold", "tool_call_id": "call00001", "name": "get_weather"},
            {"role": "tool", "content": "12:00", "tool_call_id": "call00002", "name": "now"}],
        "tools": [WEATHER, TIME]},
}


def render_all(templates, bos="<s>", eos="</s>"):
    backend = Tokenizer(models.BPE(vocab={bos: 0, eos: 1}, merges=[]))
    tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_object=backend, bos_token=bos, eos_token=eos)
    out = []
    for name, template in templates.items():
        cases = []
        for title, conversation in CONVERSATIONS.items():
            case = {"name": title} | conversation
            given = copy.deepcopy(conversation)  # templates may change it
            try:
                case["text"] = tokenizer.apply_chat_template(given["messages"], tools=given.get("tools"), tokenize=False,
                                                             chat_template=template, add_generation_prompt=True)
            except Exception as error:  # what the template raises
                case["error"] = str(error)
            cases.append(case)
        out.append({"name": name, "template": template, "cases": cases})
    return {"text_by": f"Transformers {transformers.__version__}", "bos": bos, "eos": eos, "templates": out}


def write(path, rendered):
    path.write_text(json.dumps(rendered, separators=(",", ":")).replace('},{"name"', '},\n{"name"') + "\n")


def text_of(field, index=0):
    return bytes(field.parts[field.data[index]]).decode()


def token_text(fields, name):
    """Of the token whose id is under that name."""
    field = fields[f"tokenizer.ggml.{name}_token_id"]
    return text_of(fields["tokenizer.ggml.tokens"], int(field.parts[field.data[0]][0]))


def main():
    if len(sys.argv) == 5 and sys.argv[1] == "--folder":
        files = sorted(pathlib.Path(sys.argv[2]).glob("*.jinja"))
        fields = gguf.GGUFReader(sys.argv[4]).fields
        write(pathlib.Path(sys.argv[3]), render_all({file.stem: file.read_text() for file in files},
                                                    token_text(fields, "bos"), token_text(fields, "eos")))
    elif len(sys.argv) == 2:
        smollm2 = text_of(gguf.GGUFReader(sys.argv[1]).fields["tokenizer.chat_template"])
        write(HERE / "chat_templates.json", render_all({"smollm2": smollm2} | TEMPLATES))
    else:
        sys.exit(__doc__)


if __name__ == "__main__":
    main()
