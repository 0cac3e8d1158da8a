"""Tests the simulator with the newer client of the official SDK, `dashscope.Client().apps`."""

import sys

import dashscope
from dashscope.v2 import errors

BASE = sys.argv[1]
APP = "app1_chat"
client = dashscope.Client(api_key="sk-test-000", base_url=BASE)
there = dashscope.Client(api_key="sk-test-000", base_url=BASE, workspace="llm-ws123")


def call(prompt, app_id=APP, client=client, **options):
    return client.apps.completions.create(app_id=app_id, prompt=prompt, **options)


def failure(*arguments, **options):
    try:
        answer = call(*arguments, **options)
        list(answer) if options.get("stream") else None
    except errors.DashScopeError as error:
        return error
    raise AssertionError(f"{arguments} did not fail")


# A plain call, a call in the same session, and a call in a workspace.
first = call("你是谁？")
assert first.finish_reason == "stop" and "你是谁" in first.text
assert len(first.session_id) == 32
assert first.usage.models[0].output_tokens > 1
second = call("你有什么技能？", session_id=first.session_id)
assert second.session_id == first.session_id and "第 2 轮" in second.text
assert call("hi", client=there).finish_reason == "stop"

# biz_params.
named = call("评分", biz_params={"user_prompt_params": {"Role": "manager", "Nickname": "王姐"}})
assert named.text.startswith("王姐店长，你好"), named.text

# A stream of deltas. By default, each event has the whole text so far.
deltas = list(call("[[sim:echo]]今天怎么样？", stream=True, incremental_output=True))
assert "".join(event.text for event in deltas) == "[[sim:echo]]今天怎么样？"
assert deltas[-1].finish_reason == "stop"
whole = list(call("[[sim:echo]]今天怎么样？", stream=True))
assert whole[-1].text == "[[sim:echo]]今天怎么样？" and whole[2].text.startswith(whole[1].text)

# All forms of errors.
wrong = dashscope.Client(api_key="wrong", base_url=BASE)
assert isinstance(failure("hi", client=wrong), errors.AuthenticationError)
for stream in (False, True):
    for scenario in ("error-framed", "error-mislabelled"):
        error = failure(f"[[sim:{scenario}]]", stream=stream)
        assert error.code == "InvalidParameter" and error.status_code == 400, (scenario, error)
assert failure("[[sim:error-200]]").code == "DataInspectionFailed"
assert failure("[[sim:fail-first]]", stream=True).code == "InternalError"
assert failure("[[sim:inspection]]", stream=True).code == "DataInspectionFailed"
assert failure("[[sim:app-denied]]", stream=True).code == "App.AccessDenied"
assert isinstance(failure("[[sim:throttle]]", stream=True), errors.RateLimitError)
assert "再试" in call("[[sim:throttle-once]]再试").text  # this client retries

# Unusual formats that this client accepts.
for oddity in ["crlf", "spaces", "heartbeats", "no-blank-lines", "utf8-split", "odd-usage:flat", "no-usage"]:
    events = list(call(f"[[sim:{oddity}+echo]]一二三四五", stream=True, incremental_output=True))
    assert "".join(event.text for event in events).endswith("一二三四五"), oddity
