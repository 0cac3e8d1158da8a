"""Prints a SAM template after the transform, as JSON, without calling AWS."""

import json
import sys

from samtranslator.parser.parser import Parser
from samtranslator.translator.translator import Translator
from samtranslator.yaml_helper import yaml_parse

# SAM reads the ARNs of policies given by name from IAM. This template names none.
MANAGED_POLICIES = {}

with open(sys.argv[1], encoding="utf-8") as file:
    template = yaml_parse(file.read())
# The code location after `sam build` and an upload.
template["Globals"]["Function"]["CodeUri"] = "s3://bucket/code"
parameters = {name: p.get("Default", "") for name, p in template["Parameters"].items()}
transformed = Translator(MANAGED_POLICIES, Parser()).translate(template, parameters)
json.dump(transformed, sys.stdout)
