"""What comes of a model's answer: a goal, another question, or a reason why there is none."""

from __future__ import annotations

import csv
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labeling.answers import read_answer
from labeling.checks import EXPLANATIONS, CheckConfig, LabelProblem, find_problem
from labeling.labelers import make_question
from vlm_agent.chat import load_prompt
from vlm_agent.games.ringcraft.goals import GOALS

CONFIG = CheckConfig()
BANK = "open the bank"
AGAIN, DROP = "ask again", "drop"


def outcome(answer, config=CONFIG, **options):
    reading = read_answer(answer, config, **options)
    assert (reading.goal is None) != (reading.problem is None)
    if reading.goal is not None:
        return reading.goal
    return AGAIN if reading.is_worth_asking_again else DROP


ANSWERS = {
    # Preambles
    "Here is the goal:\n\nChop down trees": "chop down trees",
    "Sure! Here's the goal:\nopen the bank": BANK,
    "Certainly! The player's goal in this clip was: Open the bank.": BANK,
    "Okay, open the bank": BANK,
    "Got it. Open the bank.": BANK,
    "Alright, so the goal is to open the bank.": BANK,
    "The goal is to open the bank": BANK,
    "The goal of the player is to open the bank.": BANK,
    "Player's goal - open the bank": BANK,
    "Based on the six frames, it looks like the player's goal was to open the bank.": BANK,
    "In this clip, the goal is probably to open the bank": BANK,
    "To open the bank": BANK,
    "Please open the bank": BANK,
    "Final answer: open the bank": BANK,
    "Answer = open the bank": BANK,
    "Sorry for the confusion. Open the bank.": BANK,
    "assistant\nopen the bank": BANK,
    # Markup and numbering
    "**Goal:** open the bank": BANK,
    "**Open the bank**": BANK,
    "open the bank**": BANK,
    "** open the bank": BANK,
    "open the *bank*": BANK,
    "### Goal\nopen the bank": BANK,
    "# Open the bank #": BANK,
    "```\nopen the bank\n```": BANK,
    "```json\n{\"goal\": \"open the bank\"}\n```": BANK,
    '{"goal": "open the bank"}': BANK,
    '{"player_goal": "Open the bank.", "confidence": 0.9}': BANK,
    'Here you go: {"result": {"short goal": "open the bank"}}': BANK,
    "{'goal': 'open the bank'}": BANK,
    '["open the bank"]': BANK,
    "<goal>open the bank</goal>": BANK,
    "<p>The goal:</p><b>Open the bank</b>": BANK,
    "| Clip | Goal |\n| --- | --- |\n| 1 | open the bank |": BANK,
    "\\boxed{open the bank}": BANK,
    "1. Open the bank": BANK,
    "1️⃣ Open the bank": BANK,
    "- [ ] open the bank": BANK,
    "> open the bank": BANK,
    "(a) open the bank": BANK,
    "Frame 1: open the bank": BANK,
    "Frames 1-6: Open the bank": BANK,
    "[0.0 s - 3.6 s] open the bank": BANK,
    "At 2.4 s: open the bank": BANK,
    "Step 1 - open the bank": BANK,
    # Thoughts
    "<think>\nthe bank opens\n</think>\nopen the bank": BANK,
    "Got it, let's see.\n</think>\n\nopen the bank": BANK,
    "◁think▷the bank◁/think▷open the bank": BANK,
    "<reasoning>It opens.</reasoning> <answer>Open the bank</answer>": BANK,
    "Thought: the window of the bank opens.\nGoal: open the bank": BANK,
    "open the bank\n\nExplanation: Click the booth. See the window.": BANK,
    "open the bank - the player clicks the booth": BANK,
    "<think>\nthe bank opens, so": AGAIN,
    "open the bank</think>": AGAIN,
    # Characters
    "open the bank\u200b": BANK,
    "\ufeff\u202eopen\u00a0the\u2009bank\u202c": BANK,
    "\x1b[1mopen the bank\x1b[0m\r\n": BANK,
    "“Open the bank”": BANK,
    "«Open the bank.»": BANK,
    "open the bank'": BANK,
    "🏦 Open the bank! ✅": BANK,
    "ｏｐｅｎ ｔｈｅ ｂａｎｋ": BANK,
    "𝗼𝗽𝗲𝗻 𝘁𝗵𝗲 𝗯𝗮𝗻𝗸": BANK,
    "&quot;open the bank&quot;": BANK,
    "open the bank<|im_end|>\n<|im_start|>user\nand now?": BANK,
    "OPEN THE BANK": BANK,
    "Open The Bank": "open the bank",
    # Refusals
    "Unable to determine the goal.": DROP,
    "No clear goal visible": DROP,
    "N/A - nothing happens": DROP,
    "No action is being performed": DROP,
    "I'm sorry, but I can't help with that.": DROP,
    "As an AI language model, I cannot see the game.": DROP,
    "It is not clear what the player wants.": DROP,
    "The goal cannot be determined from the pictures.": DROP,
    "The player's goal is unclear": DROP,
    "The pictures do not show an action.": DROP,
    "There is not enough information to tell.": DROP,
    "Goal: none": DROP,
    '{"goal": null}': DROP,
    "Unknown": DROP,
    "unknown goal": DROP,
    "The player is idle.": DROP,
    "Nothing is happening in the clip.": DROP,
    # Loops
    "walk to to to to to to to": DROP,
    "open the bank the bank the bank the bank the bank": DROP,
    "opennnnnnnnnnnnnnnnnnnnnn": DROP,
    # No instruction
    "The character opens the bank": AGAIN,
    "player walks to the bank": AGAIN,
    "He opens the bank": AGAIN,
    "Opening the bank": AGAIN,
    "Opened the bank": AGAIN,
    "Bank is open": AGAIN,
    "I want to open the bank": AGAIN,
    "the bank": AGAIN,
    "bank": AGAIN,
    "What is the goal?": AGAIN,
    "Open the bank?": AGAIN,
    "[goal]": AGAIN,
    "<your goal here>": AGAIN,
    "": AGAIN,
    '{"actions":[]}': AGAIN,
    "click(460, 66)": AGAIN,
    "Let me think about it.": AGAIN,
    # Other languages
    "Abrir el banco": AGAIN,
    "Usa el horno": AGAIN,
    "use el horno": AGAIN,
    "open de bank": AGAIN,
    "Öffne die Bank": AGAIN,
    "打开银行": AGAIN,
    "открыть банк": AGAIN,
    "оpen the bank": AGAIN,
    # More than one, or less
    "open the bank or walk to the furnace": AGAIN,
    "Either open the bank or close it": AGAIN,
    "open/close the bank": AGAIN,
    "1. Open the bank\n2. Withdraw gold": AGAIN,
    "Open the bank. Then withdraw the gold.": AGAIN,
    "open the bank; walk to the furnace; check the posters": AGAIN,
    "open the bank, withdraw the gold": AGAIN,
    '["open the bank", "withdraw gold"]': AGAIN,
    "open the": AGAIN,
    "open the bank and": AGAIN,
    "type 'hel": AGAIN,
    "open the ban\ufffd": AGAIN,
    "describe the picture": AGAIN,
    "go and open the bank and take all of the gold bars out of it": AGAIN,
}  # fmt: skip


@pytest.mark.parametrize(("answer", "expected"), ANSWERS.items(), ids=map(repr, ANSWERS))
def test_what_comes_of_an_answer(answer, expected):
    assert outcome(answer) == expected


GOALS_THAT_PEOPLE_WRITE = """
craft sapphire rings|go to the lantern|avoid the guard and reach the exit|left-click the tree|don't get hit
log in|re-equip the bow|type 'hello' into the search box|press F5|toggle run|chop down trees|sign in
turn on the light|zoom out|open config.ini|press ctrl+s|right click the goblin|never stop moving
quickly reach the exit|save the file as report.pdf|set the volume to 50%|reach level 10|search for "red shoes"
wait until the bank is open|make sure the door is closed|scroll down to the comments|go to Mr. Smith
buy bread, milk and eggs|type "yes or no" into the box|do not die|equip the sword|fast travel to Whiterun
catch a Pokémon|turn 90° left|pick up the key and open the door|defend the base against the zombies
select quantity 5|double-click the icon|drag the file into the folder|upvote the first answer|look north
parry the attack|go to example.com|reply to Anna's e-mail|fill in the form and submit it|do nothing
close the pop-up|un-pause the game|hold shift and click the tree|step back|read the instructions
take a screenshot|score a goal|attack the other player|get the C# project to build|rename file_1 to file_2
win the duel|kite the boss|mine iron ore|bank the ore|answer the phone|undo the last change|ctrl+click the link
rebuild the wall|follow the path to the north|use the furnace|talk to the banker
""".replace("\n", "|").strip("|").split("|")  # fmt: skip


@pytest.mark.parametrize("goal", [*GOALS_THAT_PEOPLE_WRITE, *GOALS])
def test_goals_that_people_write_are_goals(goal):
    settled = goal[:1].lower() + goal[1:]
    assert outcome(goal) == settled
    assert outcome(f"**Goal:** {goal}.") == settled


def test_the_shared_table_of_answers(shared_data):
    path = shared_data.parent / "cases" / "labels.tsv"
    if not path.is_file():
        pytest.skip("there are no shared cases")
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
    wrong = {}
    for row in rows:
        answer = row["answer"].replace("\\n", "\n").replace("\\u200b", "\u200b")
        if outcome(answer) not in row["goal"].split(" | "):
            wrong[answer] = outcome(answer)
    assert len(rows) >= 24
    assert wrong == {}


WRAPPERS = (
    "{}.", "{}!", " {}\n", '"{}"', "“{}”", "**{}**", "*{}*", "_{}_", "__{}__", "# {}", "### Goal\n{}", "> {}",
    "- {}", "• {}", "1. {}", "2) {}", "(b) {}", "[ ] {}", "`{}`", "```\n{}\n```", "<goal>{}</goal>",
    "<b>{}</b>", "<answer>\n{}\n</answer>", "({})", "[{}]", "| {} |", "Goal: {}", "The goal is to {}", "To {}",
    "Okay, {}", "Sure! Here's the goal:\n{}", "Here is the instruction: {}", "Frame 1: {}", "[0.0 s] {}",
    "Answer: **{}**", "<think>\nHm. What is it?\n</think>\n\n{}", "{}\n\nExplanation: it can be seen.",
    "{}<|im_end|>", "\u200b{}\u200d", "{} 🏦", "✅ {}", "Thought: it opens.\nGoal: {}", "\\boxed{{{}}}",
    "Final Answer\n\n{}",
)  # fmt: skip
JSON_WRAPPERS = (
    lambda goal: json.dumps({"goal": goal}),
    lambda goal: json.dumps([goal]),
    lambda goal: f"```json\n{json.dumps({'answer': goal})}\n```",
)
plain_goals = st.sampled_from([*GOALS_THAT_PEOPLE_WRITE, *GOALS]).map(lambda goal: goal[:1].lower() + goal[1:])


@given(goal=plain_goals, wrapper=st.sampled_from(WRAPPERS), second=st.sampled_from(WRAPPERS))
def test_a_wrapped_goal_is_the_goal(goal, wrapper, second):
    assert outcome(wrapper.format(goal)) == goal
    # Twice wrapped it is the goal, or asked again, and never something else.
    assert outcome(second.format(wrapper.format(goal))) in (goal, AGAIN)


@given(goal=plain_goals, wrapper=st.sampled_from(JSON_WRAPPERS))
def test_a_goal_in_data_is_the_goal(goal, wrapper):
    assert outcome(wrapper(goal)) == goal


pieces = st.one_of(
    st.text(max_size=40),
    st.sampled_from([*ANSWERS, *GOALS_THAT_PEOPLE_WRITE, *(wrapper.format("x") for wrapper in WRAPPERS)]),
    st.sampled_from(
        ["\n", " ", "**", '"', "'", ": ", ". ", "{", "}", "<", ">", "1. ", "#", "|", "- ", "`", "</think>", " or "]
    ),
)


@given(st.lists(pieces, max_size=6).map("".join))
def test_a_goal_is_one_line_in_the_form_of_one_and_stays_what_it_is(answer):
    goal = read_answer(answer, CONFIG).goal
    if goal is not None:
        assert goal == " ".join(goal.split())
        assert not set(goal) & set("{}[]<>|\\*`\n")
        assert find_problem(goal, CONFIG) is None
        assert outcome(goal) == goal


def test_the_question_told_back_is_no_goal():
    question = make_question(load_prompt("label_clip"), 6, CONFIG)[0]["content"][1]["text"]
    assert outcome(question, question=question) == AGAIN
    assert outcome("Answer with one instruction of 2 to 8 words", question=question) == AGAIN
    assert outcome("What was the player's goal in this clip? Open the bank.", question=question) == BANK
    assert outcome("walk to the furnace", question=question) == "walk to the furnace"


def test_verbs_of_a_game_are_told_by_the_user_or_by_the_recording():
    assert outcome("yoink the flag") == AGAIN
    assert outcome("Yoink the flag.", CheckConfig(verbs=("yoink",))) == "yoink the flag"
    assert outcome("Yoink the flag.", known={"yoink"}) == "yoink the flag"


def test_what_is_told_first_is_what_is_wrong():
    assert read_answer("the bank or the furnace, who knows", CONFIG).problem in EXPLANATIONS
    assert read_answer("open the bank?", CONFIG).problem is LabelProblem.QUESTION
    assert read_answer("打开银行", CONFIG).problem is LabelProblem.OTHER_LANGUAGE
    assert read_answer("bank", CONFIG).problem is LabelProblem.TOO_SHORT


@settings(max_examples=15)
@given(st.text(max_size=30))
def test_an_answer_without_end_takes_no_time(piece):
    outcome(f"{piece}\n" * 400)
    outcome(piece * 400)
