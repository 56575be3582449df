"""Write a commented judges file for a provider of judges.

To add a provider: add an entry to `PROVIDERS`. Its base URL is that of its `api`, and its notes are
the comments above its judge.
"""

import json
from dataclasses import dataclass

from podium_service.judges.settings.connection import API
from podium_service.judges.settings.prices import find_price


@dataclass(frozen=True, slots=True)
class Provider:
    """A place where judges are served.

    Attributes:
        base_url: the URL, or an example of it.
        model: a model to begin with.
        key: the environment variable that its users keep its key in; None where none is needed.
        notes: what to know, a line each.
        is_local: whether a server of one's own answers, so that the model is what it serves.
        api: the setting `api` of its judges.
    """

    base_url: str
    model: str
    key: str | None
    notes: tuple[str, ...] = ()
    is_local: bool = False
    api: API = "openai"


PROVIDERS: dict[str, Provider] = {
    "openai": Provider("https://api.openai.com/v1", "gpt-5-mini", "OPENAI_API_KEY"),
    "anthropic": Provider(
        "https://api.anthropic.com/v1",
        "claude-haiku-4-5",
        "ANTHROPIC_API_KEY",
        ("The instructions are kept in Anthropic's prompt cache, which makes them cheap.",),
        api="anthropic",
    ),
    "gemini": Provider(
        "https://generativelanguage.googleapis.com/v1beta",
        "gemini-2.5-flash",
        "GEMINI_API_KEY",
        api="gemini",
    ),
    "azure": Provider(
        "https://your-resource.openai.azure.com/openai/v1",
        "YOUR-DEPLOYMENT",
        "AZURE_OPENAI_API_KEY",
        (
            "Put the name of your resource into the URL (or give --base-url).",
            "The model is the name of your deployment, not of OpenAI's model.",
        ),
    ),
    "openrouter": Provider(
        "https://openrouter.ai/api/v1", "openai/gpt-5-mini", "OPENROUTER_API_KEY"
    ),
    "vllm": Provider(
        "http://localhost:8000/v1",
        "YOUR-MODEL",
        None,
        (
            "vllm serve MODEL listens on port 8000, as podium serve does: give one of them --port.",
            "With vllm serve --api-key, name the variable of the key: api_key_env: VLLM_API_KEY",
        ),
        is_local=True,
    ),
    "llama.cpp": Provider(
        "http://localhost:8080/v1",
        "YOUR-MODEL",
        None,
        (
            "llama-server -m MODEL.gguf -c 16384 answers here, by any model name.",
            "best_of reads the probabilities of letters, which suits small models.",
        ),
        is_local=True,
    ),
    "ollama": Provider(
        "http://localhost:11434/v1",
        "YOUR-MODEL",
        None,
        (
            "Ollama cuts long prompts without a word: set OLLAMA_CONTEXT_LENGTH where it is served",
            "to what context_tokens says here.",
        ),
        is_local=True,
    ),
    "litellm": Provider(
        "http://localhost:4000/v1",
        "YOUR-MODEL",
        "LITELLM_API_KEY",
        ("The model is a model_name of the proxy's config.",),
        is_local=True,
    ),
}


def write_judges_file(name: str, provider: Provider, base_url: str, model: str) -> str:
    """Return the text of a judges file with one judge of a provider."""
    lines = [
        f"# A judge at {name}, written by podium init. podium judges --config FILE says whether it",
        "# answers; docs/judges.md lists all settings.",
        "default_judge: main",
        "judges:",
        "  main:",
        *(f"    # {note}" for note in provider.notes),
        *([] if provider.api == "openai" else [f"    api: {provider.api}"]),
        f"    model: {json.dumps(model)}",
        f"    base_urls: [{json.dumps(base_url)}]",
    ]
    if provider.key:
        lines += [
            "    # The name of the environment variable that holds the key, never the key itself.",
            f"    api_key_env: {provider.key}",
        ]
    if name == "ollama":
        lines.append("    context_tokens: 16384")
    lines += [
        *_price_lines(model, provider),
        "    # How the group is shown: listwise (all at once), pairwise, best_of (one letter) ...",
        "    # auto takes what suits the model and the group.",
        "    method: auto",
        "    # How often each trajectory is shown; more passes cost more and tell more.",
        f"    {'# ' if provider.is_local else ''}passes: {{min: 1, max: 4}}",
        "    # What the judge looks for; a general rubric unless set.",
        "    # rubric: |",
        "    #   The better answer is correct, and says how sure it is.",
        "    # The most that all processes of the store spend on it together; needs a price.",
        "    # spend: {usd: 10, per: day}",
        "    # Judges to ask if this one fails for good.",
        "    # fallback: [other]",
    ]
    return "\n".join(lines) + "\n"


def _price_lines(model: str, provider: Provider) -> list[str]:
    known = find_price(model)
    if known:
        values = ", ".join(f"{n}: {v:g}" for n, v in known.price.model_dump().items())
        about = f"US dollars per million tokens, as of {known.checked}: check them."
        return [f"    # {about}", f"    price: {{{values}}}"]
    if provider.is_local and not provider.key:
        return []
    return [
        "    # US dollars per million tokens; without them costs are unknown.",
        "    # price: {prompt: 0.25, cached: 0.025, completion: 2}",
    ]
