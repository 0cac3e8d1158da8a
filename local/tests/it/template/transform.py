"""Prints, as JSON, what CloudFormation makes of a SAM template; it asks no service."""

import json
import sys

from samtranslator.parser.parser import Parser
from samtranslator.translator.translator import Translator
from samtranslator.yaml_helper import yaml_parse

# SAM asks IAM for the ARNs of policies that are given by name. Here they are all ARNs or its own.
MANAGED_POLICIES = {}

with open(sys.argv[1], encoding="utf-8") as file:
    template = yaml_parse(file.read())
# As after `sam build` and an upload.
template["Globals"]["Function"]["CodeUri"] = "s3://bucket/code"
parameters = {name: p.get("Default", "") for name, p in template["Parameters"].items()}
transformed = Translator(MANAGED_POLICIES, Parser()).translate(template, parameters)
json.dump(transformed, sys.stdout)
