"""The trainers that the bridge speaks to in their own words, by their route.

To add one: write a module with the model of its body, and a `Form`; name its route in
`telemetry/routes.py`, and add both to `FORMS`; write a page in docs/integrations.
"""

from typing import Any

from podium_service.http.bridge.forms import nemo_gym, openrlhf, slime
from podium_service.http.bridge.forms.form import Form
from podium_service.telemetry import routes

FORMS: dict[str, Form[Any]] = {
    routes.BRIDGE_OPENRLHF: openrlhf.FORM,
    routes.BRIDGE_SLIME: slime.FORM,
    routes.BRIDGE_NEMO_GYM_VERIFY: nemo_gym.FORM,
}
