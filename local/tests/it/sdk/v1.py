"""Tests the simulator with the classic client of the official SDK, `Application.call`."""

import sys
from http import HTTPStatus

import dashscope
from dashscope import Application

dashscope.base_http_api_url = sys.argv[1]
KEY = "sk-test-000"
APP = "app1_chat"


def call(prompt, app_id=APP, api_key=KEY, **options):
    return Application.call(api_key=api_key, app_id=app_id, prompt=prompt, **options)


# A plain call, then a call in the same session.
first = call("你是谁？")
assert first.status_code == HTTPStatus.OK, first
assert first.output.finish_reason == "stop"
assert "你是谁" in first.output.text
assert len(first.output.session_id) == 32
assert first.request_id
usage = first.usage.models[0]
assert usage.model_id == "qwen-plus" and usage.input_tokens > 0 and usage.output_tokens > 1

second = call("你有什么技能？", session_id=first.output.session_id)
assert second.output.session_id == first.output.session_id
assert "第 2 轮" in second.output.text, second.output.text

# A stream of deltas. By default, each item has the whole text so far.
deltas = list(call("[[sim:echo]]今天怎么样？", stream=True, incremental_output=True))
assert all(item.status_code == HTTPStatus.OK for item in deltas)
assert "".join(item.output.text for item in deltas) == "[[sim:echo]]今天怎么样？"
assert deltas[-1].output.finish_reason == "stop"
assert len({item.output.session_id for item in deltas}) == 1
counts = [item.usage.models[0].output_tokens for item in deltas]
assert counts == sorted(counts) and counts[0] == 1

whole = list(call("[[sim:echo]]今天怎么样？", stream=True))
assert whole[-1].output.text == "[[sim:echo]]今天怎么样？"
for earlier, later in zip(whole, whole[1:]):
    assert later.output.text.startswith(earlier.output.text)

# biz_params, a workspace, and history in the request.
named = call("评分", biz_params={"user_prompt_params": {"User_ID": "1001", "Role": "coach", "Nickname": "小林"}})
assert named.output.text.startswith("小林教练，你好"), named.output.text

there = call("hi", workspace="llm-ws123")
assert there.status_code == HTTPStatus.OK, there

history = [{"role": "system", "content": "s"}, {"role": "user", "content": "你好"}, {"role": "assistant", "content": "在"}]
replayed = call("推荐一部电影", messages=history)
assert "推荐一部电影" in replayed.output.text

# An app that returns JSON, thoughts, and a workflow.
assert call('{"revenue": 12800}', app_id="app2_finance").output.text.startswith('{"insights"')

thinking = list(call("想一想", stream=True, incremental_output=True, has_thoughts=True))
assert thinking[0].output.thoughts[0].action_type == "reasoning"
assert "".join(item.output.text for item in thinking)

flow = list(call("走流程", stream=True, incremental_output=True, flow_stream_mode="message_format"))
assert flow[-1].output.workflow_message["node_is_completed"] is True
assert "".join(item.output.workflow_message["message"]["content"] for item in flow)

# Errors.
refused = call("hi", api_key="wrong")
assert refused.status_code == 401 and refused.code == "InvalidApiKey", refused

throttled = call("[[sim:throttle]]")
assert throttled.status_code == 429 and throttled.code == "Throttling.RateQuota", throttled

first_frame = list(call("[[sim:fail-first]]", stream=True, incremental_output=True))
assert [item.code for item in first_frame] == ["InternalError"], first_frame

middle = list(call("[[sim:inspection]]你好", stream=True, incremental_output=True))
assert middle[-1].code == "DataInspectionFailed" and middle[0].output.text

# Unusual formats that this client accepts.
for oddity in ["crlf", "spaces", "heartbeats", "no-blank-lines", "utf8-split"]:
    items = list(call(f"[[sim:{oddity}+echo]]一二三四五", stream=True, incremental_output=True))
    assert "".join(item.output.text for item in items).endswith("一二三四五"), oddity
