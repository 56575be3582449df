"""The judges file is parsed, or refused with the line, the setting and the rule that it breaks."""

from pathlib import Path

import pytest

from podium_service.errors import ConfigError
from podium_service.judges.judges_file import DEFAULT, Config, load, parse
from podium_service.judges.limits import Passes, Price
from podium_service.judges.settings import ChecksJudge, JuryJudge, LLMJudge

FULL = """\
# Judges of the lab.
default_judge: main
judges:
  main:
    model: gpt-5-mini
    base_urls: [https://api.openai.com/v1]
    api_key_env: JUDGE_KEY
    method: listwise
    passes: 6
    rubric: |
      Shorter is better.
    fallback: [local]
    gates:
      - {check: max_words, words: 200}
    reward: rank
    noise_sd: 0.1
    temperature: 1
    seed: 7
    reasoning_effort: low
    extra_body: {chat_template_kwargs: {enable_thinking: false}}
    max_tokens: 4000
    response_format: json_object
    context_tokens: 128000
    price: {prompt: 0.25, cached: 0.025, completion: 2}
    timeout_s: 30
    attempts: 2
    concurrency: 64
  local:
    model: Qwen/Qwen3-32B
    base_urls: [http://judge-0:8000/v1, http://judge-1:8000/v1]
  checks:
    kind: checks
    criteria:
      - {check: matches_reference, how: number, weight: 2}
      - {check: no_tool_errors, gate: true}
"""
HEAD = """\
default_judge: main
judges:
  main:
    model: m
    base_urls: [http://judge/v1]
"""  # a setting added to it stands on line 6


def refused(text: str) -> str:
    with pytest.raises(ConfigError) as caught:
        parse(text, "judges.yaml")
    return str(caught.value)


def llm_judge(text: str) -> LLMJudge:
    """Return the only judge of a file."""
    [judge] = parse(text, "judges.yaml").judges.values()
    assert isinstance(judge, LLMJudge)
    return judge


def test_a_full_file_parses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JUDGE_KEY", "k-123")
    config = parse(FULL, "judges.yaml")
    assert config.default_judge == "main"
    main, local, checks = config.judges.values()
    assert isinstance(main, LLMJudge)
    assert isinstance(local, LLMJudge)
    assert isinstance(checks, ChecksJudge)
    assert (main.passes_for("listwise").max, main.reward, main.rubric) == (
        6,
        "rank",
        "Shorter is better.\n",
    )
    assert main.api_key == "k-123"
    assert [check.label for check in main.gates] == ["max_words(200)"]
    assert main.extra_body == {"chat_template_kwargs": {"enable_thinking": False}}
    assert (local.passes_for("listwise"), local.reward, local.api_key) == (
        Passes(min=1, max=4, rollout_cost=1),
        "win_probability",
        None,
    )
    assert [str(url) for url in local.base_urls] == [
        "http://judge-0:8000/v1",
        "http://judge-1:8000/v1",
    ]
    assert [check.weight for check in checks.criteria] == [2, 1]
    assert [check.check for check in checks.gates] == ["no_tool_errors"]


def test_a_key_is_not_kept_in_the_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JUDGE_KEY", "k-123")
    assert "k-123" not in parse(FULL, "judges.yaml").model_dump_json()


def test_a_price_is_per_million_tokens() -> None:
    price = Price(prompt=2, cached=0.5, completion=8)
    # 1000 tokens in, 400 of them cached, 100 out: (600 * 2 + 400 * .5 + 100 * 8) / 1e6.
    assert price.cost_usd(1000, 400, 100) == pytest.approx(0.0022)
    assert Price(prompt=2, completion=8).cost_usd(1000, 400, 100) == pytest.approx(0.0028)


def test_the_worst_price_of_a_prompt_is_the_larger_one() -> None:
    assert Price(prompt=2, cached=0.5, completion=8).worst_usd(1000, 100) == pytest.approx(0.0028)
    assert Price(cached=1).worst_usd(1000, 100) == pytest.approx(0.001)


def test_the_default_judge_compares_with_the_reference() -> None:
    assert load(None) is DEFAULT
    (judge,) = DEFAULT.judges.values()
    assert isinstance(judge, ChecksJudge)
    assert [check.check for check in judge.criteria] == ["matches_reference"]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_a_file_is_read_from_its_path(encoding: str, tmp_path: Path) -> None:
    path = tmp_path / "judges.yaml"
    path.write_text(HEAD, encoding=encoding)
    assert list(load(path).judges) == ["main"]


def test_the_example_in_the_package_parses() -> None:
    example = Path(__file__).parents[3] / "service/podium_service/examples/judges.yaml"
    assert load(example).default_judge in load(example).judges


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("bogus: 1", "judges.main.bogus: there is no such setting: docs/judges.md lists all"),
        ("methud: x", "judges.main.methud: there is no such setting: the nearest one is method"),
        ("api_key: k-123", "judges.main.api_key: there is no such setting: keys stay out of this "
         "file: put the key into an environment variable and write api_key_env: NAME_OF"),
        ("price: {promt: 1}", "judges.main.price.promt: there is no such setting: the nearest one "
         "is prompt"),
        ("price: {x: 1}", "judges.main.price.x: there is no such setting: use one of prompt, "
         "cached, completion"),
        ("gates: [{check: max_words, word: 1}]", "judges.main.gates.0.word: there is no such "
         "setting: the nearest one is words"),
        ("kind: oracle", "judges.main.kind: kind must be llm (the default), jury or checks"),
        ("method: psychic", "judges.main.method: Input should be 'listwise'"),
        ("passes: {min: 6, max: 2}", "judges.main.passes: min 6 is more than max 2"),
        ("passes: 0", "judges.main.passes: 0 is neither 1 to 64 nor {min, max, rollout_cost"),
        ("passes: many", "judges.main.passes: 'many' is neither 1 to 64 nor"),
        ("budget: {calls: 0}", "judges.main.budget.calls: Input should be greater than or equal"),
        ("verified_weight: 2", "judges.main.verified_weight: Input should be less than or equal"),
        ("reward: gold", "judges.main.reward: Input should be 'win_probability', 'rank' or"),
        ("temperature: .nan", "judges.main.temperature: Input should be a finite number"),
        ("noise_sd: 0", "judges.main.noise_sd: Input should be greater than 0"),
        ("price: {prompt: -1}", "judges.main.price.prompt: Input should be greater than or equal "
         "to 0"),
        ("api_key_env: PODIUM_TEST_UNSET",
         "judges.main.api_key_env: the environment variable PODIUM_TEST_UNSET is not set"),
        ("fallback: [nope]", "judges.main.fallback"),
        ("gates: [{check: nope}]", "judges.main.gates.0: Input tag 'nope' found using 'check'"),
        ("gates: [{check: max_words}]", "judges.main.gates.0.words: Field required"),
        ("model: other", "model stands twice in one mapping"),
    ],
)  # fmt: skip
def test_a_setting_that_breaks_a_rule_is_refused_by_line(setting: str, said: str) -> None:
    assert refused(f"{HEAD}    {setting}\n").startswith(f"judges.yaml:6: {said}")


@pytest.mark.parametrize("name", ["n", "max_tokens", "max_completion_tokens"])
@pytest.mark.parametrize("bound", ["price: {prompt: 1}", "budget: {tokens: 1000}"])
def test_extra_body_makes_no_call_cost_more_than_reserved(name: str, bound: str) -> None:
    text = f"{HEAD}    extra_body: {{{name}: 8, top_k: 1}}\n"
    said = refused(f"{text}    {bound}\n")
    assert said.startswith(f"judges.yaml:6: judges.main.extra_body.{name}: with a price or a")
    assert "cap replies by the judge's max_tokens" in said
    for allowed in (text, f"{text}    budget: {{calls: 9}}\n"):
        assert isinstance(parse(allowed, "judges.yaml").judges["main"], LLMJudge)


def test_an_unknown_fallback_is_named_with_the_judges_there_are() -> None:
    said = refused(HEAD + "    fallback: [nope]\n")
    assert "'nope' is not among: main" in said


def test_an_unknown_default_is_refused_on_its_own_line() -> None:
    text = "# first\n\njudges:\n" + HEAD.split("judges:\n")[1] + "default_judge: nope\n"
    assert refused(text).startswith("judges.yaml:7: ")
    assert refused(text).endswith("default_judge: 'nope' is not among: main")


@pytest.mark.parametrize(
    "url",
    [
        "http://user:secret@judge/v1",
        "http://secret@judge/v1",
        "http://:secret@judge/v1",
    ],
)
def test_a_url_with_credentials_is_refused_and_not_shown(url: str) -> None:
    said = refused(HEAD.replace("http://judge/v1", f'"{url}"'))
    assert said == (
        "judges.yaml:5: judges.main.base_urls: "
        "keys are only ever given by api_key_env, not inside a URL"
    )


def test_a_query_inside_a_url_has_a_setting_of_its_own() -> None:
    said = refused(HEAD.replace("http://judge/v1", "'http://judge/v1?api-version=secret'"))
    assert said == (
        "judges.yaml:5: judges.main.base_urls: "
        "write what follows the ? as the setting query, not inside a URL"
    )


@pytest.mark.parametrize(
    ("urls", "said"),
    [
        ("[]", "judges.main.base_urls: List should have at least 1 item"),
        ("7", "judges.main.base_urls: Input should be a valid list"),
        (
            "[http://a/v1, judge/v1]",
            "judges.main.base_urls.1: a URL begins with http:// or https://",
        ),
        ("[ftp://judge/v1]", "judges.main.base_urls.0: URL scheme should be 'http' or 'https'"),
    ],
)
def test_base_urls_other_than_a_list_of_urls_are_refused(urls: str, said: str) -> None:
    text = HEAD.replace("[http://judge/v1]", urls)
    assert refused(text).startswith(f"judges.yaml:5: {said}")


def test_a_text_stands_for_a_list_of_one() -> None:
    text = HEAD.replace("[http://judge/v1]", "http://judge/v1") + "    fallback: spare\n"
    text += "  spare: {model: m, base_urls: http://spare/v1}\n"
    judge = parse(text, "judges.yaml").judges["main"]
    assert isinstance(judge, LLMJudge)
    assert [str(url) for url in judge.base_urls] == ["http://judge/v1"]
    assert judge.fallback == ["spare"]


MANY_FAULTS = """\
default_judge: man
judges:
  main:
    model: m
    base_url: judge/v1
    api_key: k-123
    temprature: 3
    spend: {usd: 1, per: day}
    fallback: [chekcs]
  checks:
    kind: checks
    criteria: [{check: nope}]
"""


def test_all_faults_of_a_file_are_told_at_once_by_line() -> None:
    lines = refused(MANY_FAULTS).splitlines()
    assert [line.split(": ")[:2] for line in lines] == [
        ["judges.yaml:1", "default_judge"],
        ["judges.yaml:3", "judges.main"],
        ["judges.yaml:5", "judges.main.base_url"],
        ["judges.yaml:5", "judges.main.base_url.0"],
        ["judges.yaml:6", "judges.main.api_key"],
        ["judges.yaml:7", "judges.main.temprature"],
        ["judges.yaml:7", "judges.main.temprature"],
        ["judges.yaml:9", "judges.main.fallback"],
        ["judges.yaml:12", "judges.checks.criteria.0"],
    ]
    assert lines[0].endswith("'man' is not among: main, checks; the nearest one is main")
    assert "spend needs a price" in lines[1]
    assert lines[2].endswith("write base_urls, a URL or a list of URLs")
    assert lines[3].endswith("a URL begins with http:// or https://")
    assert lines[5].endswith("the nearest one is temperature")
    assert lines[6].endswith("Input should be less than or equal to 2")
    assert "k-123" not in "".join(lines)


def test_rules_about_several_judges_are_all_told_at_once() -> None:
    text = MANY_FAULTS.replace("nope", "not_empty").replace("base_url: j", "base_urls: http://j")
    for line in ("api_key: k-123", "temprature: 3", "spend: {usd: 1, per: day}"):
        text = text.replace(f"    {line}\n", "")
    assert refused(text).splitlines() == [
        "judges.yaml:1: default_judge: 'man' is not among: main, checks; the nearest one is main",
        "judges.yaml:6: judges.main.fallback: 'chekcs' is not among: main, checks; the nearest one "
        "is checks",
    ]


def test_an_item_of_a_list_is_named_by_its_index_and_line() -> None:
    said = refused(
        "default_judge: c\n"
        "judges:\n"
        "  c:\n"
        "    kind: checks\n"
        "    criteria:\n"
        "      - {check: contains, text: a}\n"
        "      - check: regex\n"
        "        weight: 2\n"
        '        pattern: "(a"\n'
    )
    assert said.startswith(
        "judges.yaml:9: judges.c.criteria.1.pattern: '(a' is not a regular expression: missing )"
    )


def test_the_only_judge_is_the_default() -> None:
    text = "judges:\n  main: {model: m, base_urls: [http://judge/v1]}\n"
    assert parse(text, "judges.yaml").default_judge == "main"
    assert "default_judge: Field required" in refused(f"{text}  other: {{kind: checks}}\n")


def test_names_are_the_texts_that_were_written() -> None:
    """YAML reads yes as true, and 50256 as a number."""
    text = HEAD.replace("main", '"yes"', 1).replace("main:", "yes:")
    config = parse(text + "    extra_body: {logit_bias: {50256: -100}}\n", "judges.yaml")
    judge = config.judges["yes"]
    assert isinstance(judge, LLMJudge)
    assert judge.extra_body == {"logit_bias": {"50256": -100}}


@pytest.mark.parametrize("judges", ["", " {}", " main", " 3", "\n  - {model: m}\n  - {model: n}"])
def test_a_file_without_judges_is_not_told_to_name_a_default(judges: str) -> None:
    assert refused(f"judges:{judges}\n") == (
        "judges.yaml:1: judges: write the name of each judge here, as a key, and below it the "
        "settings of the judge"
    )


@pytest.mark.parametrize("default", ["", "default_judge: [a]\n"])
def test_rules_about_judges_are_told_beside_a_missing_default(default: str) -> None:
    url = "base_urls: http://one/v1"
    text = f"{default}judges:\n  a: {{model: m, {url}, fallback: nope}}\n  b: {{model: n, {url}}}\n"
    first, second = refused(text).splitlines()
    assert "default_judge: " in first
    assert second.endswith("judges.a.fallback: 'nope' is not among: a, b")


@pytest.mark.parametrize(("first", "second"), [("yes", "no"), ("1", "2"), ("null", "1.50")])
def test_judges_are_referred_to_as_they_are_written(first: str, second: str) -> None:
    """The names are texts in the places that refer to judges, too."""
    llm = "{model: m, base_urls: [http://judge/v1], seed: %s, fallback: [%s]}"
    text = (
        f"default_judge: {first}\njudges:\n  {first}: {llm % (1, second)}\n"
        f"  {second}: {llm % (2, first)}\n  jury: {{kind: jury, members: [{first}, {second}]}}\n"
    )
    config = parse(text, "judges.yaml")
    jury = config.judges["jury"]
    assert isinstance(jury, JuryJudge)
    assert (config.default_judge, jury.members) == (first, [first, second])
    assert config.chain(second) == [second, first]


def test_a_judge_may_have_the_name_of_a_kind() -> None:
    said = refused("default_judge: llm\njudges:\n  llm:\n    model: m\n    base_urls: [x]\n")
    assert said.startswith("judges.yaml:5: judges.llm.base_urls.0: a URL begins with")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "judges.yaml:1: the file: write settings here, each as name: value"),
        ("# nothing yet\n", "judges.yaml:1: the file: write settings here, each as name: value"),
        ("- main\n", "judges.yaml:1: the file: write settings here, each as name: value"),
        ("default_judge: a\njudges: {}\n", "judges.yaml:2: judges: write the name of each judge"),
        ("default_judge: a\njudges:\n  a:\n", "judges.yaml:3: judges.a"),
        ("default_judge: a\njudges: [\n", "judges.yaml:3: not YAML: expected the node content"),
        ("a: 1\n\tb: 2\n", "judges.yaml:2: not YAML: a tab stands where only spaces may"),
        ("a: 1\n--- \nb: 1\n", "judges.yaml:2: not YAML: but found another document"),
        ("a: !!python/object:os.system x\n", "judges.yaml:1: not YAML: could not determine"),
        ("a: \x00\n", "judges.yaml: not YAML: unacceptable character #x0000"),
        ("a: 1\nb: 2\na: 3\n", "judges.yaml:3: a stands twice in one mapping"),
        ("a: 1\n1: 2\n'1': 3\n", "judges.yaml:3: 1 stands twice in one mapping"),
    ],
)
def test_text_other_than_a_judges_file_is_refused_by_line(text: str, said: str) -> None:
    assert refused(text).startswith(said)


@pytest.mark.parametrize(
    "text",
    [
        HEAD + "    rubric: 2024-13-45\n",  # looks like a date to YAML, and is none
        HEAD + "    seed: !!int x\n",
        HEAD + '    rubric: "half \\ud83d"\n',
        "judges: &all\n  main: *all\n",  # contains itself
        "&all [*all]\n",
    ],
)
def test_text_that_crashes_yaml_is_refused(text: str) -> None:
    assert refused(text).startswith("judges.yaml:")


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nowhere\.yaml: cannot be read: .*No such file"):
        load(tmp_path / "nowhere.yaml")
    with pytest.raises(ConfigError, match=r"cannot be read: .*directory"):
        load(tmp_path)
    (tmp_path / "latin.yaml").write_bytes(b"default_judge: caf\xe9\n")
    with pytest.raises(ConfigError, match=r"latin\.yaml:1: is not UTF-8: save the file as UTF-8"):
        load(tmp_path / "latin.yaml")


def with_fallbacks(**fallbacks: list[str]) -> Config:
    judges = {
        name: {"model": "m", "base_urls": ["http://judge/v1"], "fallback": names}
        for name, names in fallbacks.items()
    }
    return Config.model_validate({"default_judge": "a", "judges": judges})


def test_fallbacks_are_asked_depth_first_and_each_once() -> None:
    config = with_fallbacks(a=["b", "d"], b=["c"], c=["d"], d=["e"], e=[])
    assert config.chain("a") == ["a", "b", "c", "d", "e"]
    assert config.chain("d") == ["d", "e"]
    assert config.chain("e") == ["e"]


def test_a_fallback_of_a_fallback_comes_before_the_next_one() -> None:
    config = with_fallbacks(a=["b", "c"], b=["d"], c=[], d=["c"])
    assert config.chain("a") == ["a", "b", "d", "c"]
    assert with_fallbacks(a=["b", "c"], b=["d"], c=[], d=[]).chain("a") == ["a", "b", "d", "c"]


def test_judges_that_name_each_other_are_asked_once() -> None:
    config = with_fallbacks(a=["b"], b=["c"], c=["a", "b"])
    assert config.chain("a") == ["a", "b", "c"]
    assert config.chain("c") == ["c", "a", "b"]


@pytest.mark.parametrize(
    ("fallback", "said"),
    [
        ("[a]", "a cannot stand in for itself: name another judge, or raise `attempts`"),
        ("[b, a]", "a cannot stand in for itself"),
        ("[b, b]", "b stands there twice, and is asked once: leave one out"),
        ("[c, c]", "'c' is not among: b, a; c stands there twice"),
    ],
)
def test_a_fallback_that_is_never_asked_is_refused(fallback: str, said: str) -> None:
    url = "base_urls: [http://judge/v1]"
    text = f"default_judge: a\njudges:\n  b: {{model: m, {url}}}\n  a:\n    model: n\n    {url}\n"
    told = refused(f"{text}    fallback: {fallback}\n")
    assert all(line.startswith("judges.yaml:7: judges.a.fallback: ") for line in told.splitlines())
    assert said in told.replace("\njudges.yaml:7: judges.a.fallback:", ";")


def test_a_jury_of_one_judge_under_two_names_is_refused() -> None:
    members = "    members: [a, b]\n"
    judge = "model: m, base_urls: [http://{}/v1]"
    text = (
        "default_judge: a\njudges:\n"
        f"  a: {{{judge.format('one')}}}\n  b: {{{judge.format('two')}}}\n"
        f"  j:\n    kind: jury\n{members}"
    )
    assert "judges.yaml:7: judges.j.members: b is a under another name" in refused(text)
    other = text.replace("http://two/v1]", "http://two/v1], temperature: 0.5")
    assert parse(other, "judges.yaml").judges["j"].kind == "jury"


def test_jurors_must_be_llm_judges_of_the_file() -> None:
    text = (
        "default_judge: j\njudges:\n  a: {model: m, base_urls: [http://one/v1]}\n"
        "  j: {kind: jury, members: [a, nobody]}\n"
    )
    assert "judges.j.members: 'nobody' is not among: a" in refused(text)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (
            "endpoint: http://a/v1",
            "judges.main.endpoint: there is no such setting: write base",
        ),
        ("base_urls: http://a/v1/chat/completions", "leave /chat/completions out"),
        ("base_urls: https://a/v1/messages/", "leave /messages/ out"),
        ("base_urls: https://a/v1/models", "leave /models out"),
        ("base_urls: 'http://a/v1, http://b/v1'", "base_urls.0: these are several URLs"),
        ("base_urls: 'http://${HOST}/v1'", "base_urls.0: variables are read in headers and query"),
        ("base_urls: $JUDGE_URL", "base_urls.0: variables are read in headers and query"),
        ("base_urls: a/v1", "judges.main.base_urls.0: a URL begins with http:// or https://"),
        ("{base_urls: http://a/v1, provider: openai}", "api which API it speaks"),
        ("{base_urls: http://a/v1, price: {input: 1, output: 2}}", "price.output"),
        ("{base_urls: http://a/v1, price: 3}", "price: write settings here, each as name: value"),
    ],
)
def test_what_people_write_is_refused_with_what_to_write(settings: str, words: str) -> None:
    rest = settings[1:-1] if settings.startswith("{") else settings
    assert words in refused(f"judges:\n  main: {{model: m, {rest}}}\n")


def test_a_model_is_no_variable() -> None:
    said = refused(HEAD.replace("model: m", "model: '${MODEL}'"))
    assert "variables are read in headers and query alone: write the value itself" in said


@pytest.mark.parametrize("model", ["4.10", "no", "2024-10-21"])
def test_a_model_is_the_text_that_was_written(model: str) -> None:
    assert llm_judge(HEAD.replace("model: m", f"model: {model}")).model == model


def test_json_indented_by_tabs_is_taken() -> None:
    text = '{\n\t"judges": {\n\t\t"main": {"model": "m", "base_urls": ["http://judge/v1"]}}}'
    assert parse(text, "judges.json").default_judge == "main"


@pytest.mark.parametrize(
    ("url", "completed"),
    [
        ("http://judge:8000", "http://judge:8000/v1"),
        ("https://name.openai.azure.com/", "https://name.openai.azure.com/openai/v1"),
        ("https://openrouter.ai", "https://openrouter.ai/api/v1"),
        ("https://name.services.ai.azure.com/models", "https://name.services.ai.azure.com/models"),
    ],
)
def test_a_url_without_a_path_gets_that_of_its_host(url: str, completed: str) -> None:
    assert [str(each) for each in llm_judge(HEAD.replace("http://judge/v1", url)).base_urls] == [
        completed
    ]


def test_a_header_may_be_a_number() -> None:
    text = "judges:\n  main: {model: m, base_urls: http://a/v1, headers: {X-Team: 5}}\n"
    judge = parse(text, "judges.yaml").judges["main"]
    assert isinstance(judge, LLMJudge)
    assert judge.headers == {"X-Team": "5"}
