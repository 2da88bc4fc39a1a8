"""Real OpenStack on this machine for the tests and for a person: Heat with all that it needs, unmodified.

Keystone, heat-engine, heat-api, heat-api-cfn, Zaqar and Swift from PyPI, redis from Debian; Nova alone is played,
and only for the one question that Heat asks. Everything is in one folder and listens on 127.0.0.1.
`README.md` beside this file says how it is used; none of it is in the package.
"""
