"""What aiogram knows is built when it is needed, and then all of it."""

import subprocess
import sys

from adapters.telegram.sdk import User, aiogram


def test_nothing_is_built_by_a_start() -> None:
    begin = "from adapters.telegram import __main__, sdk; print(sdk.User.__pydantic_complete__)"

    done = subprocess.run([sys.executable, "-c", begin], capture_output=True, text=True, check=True)

    assert done.stdout == "False\n"


def test_what_is_built_late_knows_all_that_it_names() -> None:
    ann = {"id": 2, "is_bot": False, "first_name": "Ann"}
    said = {"message_id": 1, "date": 1, "chat": {"id": 1, "type": "private"}, "from": ann}

    update = aiogram.types.Update.model_validate({"update_id": 1, "message": {**said, "reply_to_message": said}})

    assert update.message is not None and update.message.reply_to_message is not None
    assert update.message.reply_to_message.from_user == User(id=2, is_bot=False, first_name="Ann")
