"""Phrases that models put around a goal, and those with which they say that there is none; patterns for `answers`."""

from __future__ import annotations

import re

from labeling.checks import QUOTED
from labeling.containers import THOUGHT


def _one_of(words: str) -> str:
    """Return a pattern for any of some words or patterns, told with bars and space between them."""
    return f"(?:{'|'.join(' '.join(words.split()).split(' | '))})"


SEPARATOR = r"(?:\s*[:=]+\s*|\s+-+>?\s+)"
"""What ends a label: a colon, an equals sign, or a dash between spaces."""

_NOUN = _one_of(
    r"""
    goals? | instructions? | answer | objective | task | output | response | result | label | action | command
    | aim | target | intent | intention | caption | title | purpose | mission | quest | guess | conclusion
    | summary | imperative | final
    """
)
_BEFORE_NOUN = _one_of(
    r"""
    the | a | an | my | your | our | this | one | single | possible | probable | likely | short | final
    | current | main | overall | primary | best | correct | inferred | next | revised | updated | new | concise
    | clear | game | gameplay | in-game | (?:player|user|character|agent|clip|gamer)(?:'?s)?
    """
)
_OF_WHOM = r"(?:\s+(?:of|for|in|by)\s+(?:the|this|their|these)\s+[\w' ]{1,30}?)?"
_NAMED = rf"(?:{_BEFORE_NOUN}\s+)*{_NOUN}{_OF_WHOM}(?:\s*#?\d{{1,2}})?(?:\s*\([^()]*\))?"
_PERHAPS = _one_of(
    r"""
    probably | clearly | likely | most likely | simply | apparently | presumably | therefore | thus | then
    | just | as follows
    """
)
_IS = (
    r"\s*(?:is|was|are|would be|must be|seems to be|appears to be|could be|might be|may be|should be)"
    rf"(?:\s*,?\s*{_PERHAPS})?"
)
_SPEAKER = _one_of(
    r"""
    assistant | model | ai | bot | system | agent | player | user | a
    """
)

LABEL = re.compile(rf"(?:{_NAMED}|{_SPEAKER})(?:(?:{_IS})?{SEPARATOR}|{_IS}(?:\s+to\b|(?=\s)))\s*", re.I)
"""`Player's goal:`, `The goal is to`."""
LABEL_WITHIN = re.compile(
    r"(?:[^:'\"]|(?<=\w)'(?=\w)){0,120}?\b(?:goal|instruction|answer|objective|task|aim|intention|purpose)\b"
    rf"[^:'\".]{{0,60}}?(?:{_IS}\s+to\b|:)\s*",
    re.I,
)
"""`It looks like the goal in the clip is to`."""
DOUBT = re.compile(r"\b(?:not|no|cannot|unclear|unknown|whether|if|hard|difficult|impossible)\b|n't\b", re.I)
"""Before a label it is no label: `it is unclear whether the goal is to`."""
HEADING = re.compile(rf"(?:{_NAMED}|assistant|model)\s*:?", re.I)
"""A label that stands alone."""

_ASIDES = _one_of(
    r"""
    thought process | explanation | observations? | why | notes? | context | details? | justification
    | description | setting | step-by-step | confidence | evidence | nb | ps
    """
)
ASIDE = re.compile(rf"(?:{THOUGHT}|{_ASIDES})(?:\s*\([^()]*\))?(?:{SEPARATOR}|\s*$)", re.I)
"""`Explanation:`."""

_YES = _one_of(
    r"""
    ok | okay | okey | alright | all right | sure | sure thing | certainly | absolutely | definitely | of course
    | got it | understood | great | good | fine | cool | perfect | nice | yes | yep | yeah | no problem
    | not a problem | right | well | so | hm+ | um+ | ah | oh | thanks | thank you | hello | hi | hey | now
    | then | next | first | second | third | finally | lastly | therefore | thus | hence | in short | overall
    | specifically | basically | in summary | in conclusion | i see | correct | done | ready | wait | actually
    | you'?re right | i'?m sorry | i am sorry
    | (?:my |i )?(?:sorry|apologi[sz]e|apologies|mistake)(?: for [^,.!:]{1,60})?
    """
)
_MAYBE = _one_of(
    r"""
    probably | possibly | likely | most likely | maybe | perhaps | apparently | presumably
    """
)
_LINK = _one_of(
    r"""
    please | kindly | just | now | then | next | finally | therefore | thus | so | simply | ok | okay | sure
    | first
    """
)
_HERE = _one_of(
    r"""
    here'?s | here is | here are | below is | this is | the following is
    """
)
_WHERE = _one_of(
    r"""
    in | from | during | across | throughout | based on | looking at | given
    """
)
OPENING = re.compile(
    rf"{_YES}(?:\s*[,.!:;-]+\s*|$)(?:but\s+)?"
    rf"|{_MAYBE}\s*[,:]?\s+"
    rf"|{_LINK}\s+(?!is\b|are\b)"
    rf"|(?:and\s+)?{_HERE}\b[^:'\"]{{0,80}}:\s*"
    rf"|{_WHERE}\s+(?:the|this|these|all|each|frames?|clip)\s[^,:'\"]{{0,60}},\s*",
    re.I,
)
"""`Sure!`, `Here is the goal:`, `In this clip,`."""

_TIME = r"(?:\d{1,2}:)?\d{1,3}(?:[:.]\d{1,3})?\s*(?:s|sec|secs|seconds?|ms)?"
_TIMES = rf"{_TIME}(?:\s*(?:-|to)\s*{_TIME})?"
_NUMBERED = _one_of(
    r"""
    frames? | clip | images? | pictures? | moments? | scenes? | shots? | steps? | panels? | segments? | photo
    | video | tile | screenshot | figure | part | option | choice | item | q | round | seconds? | time | stage
    | phase | tick | timestamp
    """
)
MARK = re.compile(
    r"(?:#{1,6}|[-+>~=|]+|\*+)\s+|#{1,6}(?=\w)|[>|]+|-+(?=[A-Za-z])"  # headings, bullets, quotes, rows
    r"|\[[ xX]?\]\s+|\(?\d{1,3}[.):\]]+\s+|\(?[a-zA-Z][.)]\s+|\(?(?:i{1,3}|iv|vi{0,3})[.)]\s+"
    r"|\d{1,2}\s+(?:-\s+)?(?=[A-Za-z])"
    rf"|[(\[]?{_NUMBERED}\s*#?\d*(?:\s*(?:-|to|and|&|,|/|of)\s*#?\d+)*(?:\s*\([^()]*\))?(?:[)\]]?{SEPARATOR}|[.)\]]+\s+)"
    rf"|[(\[]{_TIMES}[)\]]{SEPARATOR}?\s*|(?:at\s+)?{_TIMES}(?:{SEPARATOR}|,\s+)",
    re.I,
)
"""Bullets, numbering, `Frame 1:`, `[0.0 s]`."""
TO = re.compile(r"(?:in order\s+)?to\s+", re.I)
END = re.compile(
    r"(?:\s+\((?!or\b)[^()]*\)|\s*\[\d+\]|\s[:;]-?[()DP]|\s+#+|[*_~`|]+|,?\s+please|\s*(?:(?<!\.)\.|[!;,:])|\s+because\b.*)$",
    re.I,
)
"""Final stops, remarks in brackets, reasons. A question mark says something, and so do three dots."""
STRAY_QUOTE = re.compile(r"(?<=\w)[.!]?[\"']+$")
KEY_NAME = re.compile(r"\b(press|hold|hit|tap|push)\s+[<\[](\w{1,9})[>\]]", re.I)
WHOLE = re.compile(rf"{QUOTED.pattern}|\([^()]*\)|\[[^\[\]]*\]")
"""What no sentence ends in."""
SENTENCE_END = re.compile(
    r"(?<!\bmr)(?<!\bmrs)(?<!\bms)(?<!\bdr)(?<!\bst)(?<!\bvs)(?<!\be\.g)(?<!\bi\.e)[.!?]+\s+|\s-{1,2}\s|\s*\|\s*", re.I
)
TITLE_CASE = re.compile(r"\s(?:The|A|An|Of|To|In|On|At|And|With|For|From|Into)\s")

_NONE = _one_of(
    r"""
    no | none | nothing | null | nil | nan | n/a | na | not | unknown | unclear | undetermined | undefined
    | indeterminate | undeterminable | uncertain | unspecified | unidentifiable | unable | impossible
    | insufficient | ambiguous | inconclusive | cannot | can't | couldn't | neither | idle | tbd | hard to
    | difficult to | unfortunately | as an? (?:ai|language|vision)
    | (?:clear|visible|specific) (?:goal|action|objective|intent)
    """
)
_I_CANNOT = _one_of(
    r"""
    i can't | i cannot | i can not | i don't | i do not | i won't | i will not | i could not | i couldn't
    | i see no | i have no | i refuse | i must decline | i'm not | i am not | i'm unable | i am unable
    """
)
_IT_IS_NOT = (
    r"(?:there|it)(?:(?:'s| is| are| was)? (?:no|not|nothing|unclear|insufficient|impossible|hard|difficult|unknown)"
    r"| (?:isn't|aren't|wasn't|does not|doesn't|appears unclear|seems unclear))"
)
REFUSAL = re.compile(rf"(?:{_NONE}|{_I_CANNOT}|{_IT_IS_NOT})\b", re.I)
"""How a sentence begins that says there is no goal."""
_WHAT = r"\b(?:goals?|objective|intent\w*|purpose|task|aim|action|activity|player|character)\b"
_DENIES = _one_of(
    r"""
    not | no | none | nothing | unclear | unknown | cannot | \w+n't | un\w+able | undetermined | unspecified
    | undefined | ambiguous | missing | absent | idle | inconclusive | n/a
    """
)
_CANNOT = _one_of(
    r"""
    cannot | can't | could not | couldn't | unable to | not able to | impossible to | hard to | difficult to
    | not possible to | not enough | do not | don't
    """
)
_TELL = _one_of(
    r"""
    determin\w+ | tell | identify | infer\w* | say | know | discern | assist | help with | provide | comply
    | information | context | visible
    """
)
DENIED = re.compile(
    rf"{_WHAT}.*\b{_DENIES}(?!\w)|\b{_CANNOT}\b.*\b{_TELL}\b"
    r"|\bno (?:clear |visible |apparent |specific )?(?:action|goal|activity|change|instruction|interaction)s?\b"
    r"|\b(?:images?|pictures?|frames?|clip|screenshots?|sheet|video)\b.*\b(?:not|no|cannot|\w+n't|nothing)(?!\w)",
    re.I,
)
"""What a sentence denies that is no instruction."""
