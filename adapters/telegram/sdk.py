"""What the spoke uses of aiogram, whose types are built as they are first used.

All of them at once, as it would have it, take seconds at every start, and a hundred megabytes for ever.
"""

import sys
from unittest.mock import patch

from pydantic import BaseModel

with patch.object(BaseModel, "model_rebuild"):
    import aiogram as aiogram
    from aiogram import Bot as Bot
    from aiogram.client.default import Default
    from aiogram.client.session.aiohttp import AiohttpSession as AiohttpSession
    from aiogram.client.telegram import TelegramAPIServer as TelegramAPIServer
    from aiogram.exceptions import AiogramError as AiogramError
    from aiogram.exceptions import ClientDecodeError as ClientDecodeError
    from aiogram.exceptions import TelegramAPIError as TelegramAPIError
    from aiogram.exceptions import TelegramBadRequest as TelegramBadRequest
    from aiogram.exceptions import TelegramConflictError as TelegramConflictError
    from aiogram.exceptions import TelegramEntityTooLarge as TelegramEntityTooLarge
    from aiogram.exceptions import TelegramForbiddenError as TelegramForbiddenError
    from aiogram.exceptions import TelegramMigrateToChat as TelegramMigrateToChat
    from aiogram.exceptions import TelegramNetworkError as TelegramNetworkError
    from aiogram.exceptions import TelegramNotFound as TelegramNotFound
    from aiogram.exceptions import TelegramRetryAfter as TelegramRetryAfter
    from aiogram.exceptions import TelegramServerError as TelegramServerError
    from aiogram.exceptions import TelegramUnauthorizedError as TelegramUnauthorizedError
    from aiogram.methods import AnswerCallbackQuery as AnswerCallbackQuery
    from aiogram.methods import DeleteMessage as DeleteMessage
    from aiogram.methods import DeleteWebhook as DeleteWebhook
    from aiogram.methods import EditMessageMedia as EditMessageMedia
    from aiogram.methods import EditMessageReplyMarkup as EditMessageReplyMarkup
    from aiogram.methods import EditMessageText as EditMessageText
    from aiogram.methods import GetFile as GetFile
    from aiogram.methods import GetMe as GetMe
    from aiogram.methods import GetMyCommands as GetMyCommands
    from aiogram.methods import Response as Response
    from aiogram.methods import SendChatAction as SendChatAction
    from aiogram.methods import SendMessage as SendMessage
    from aiogram.methods import SendMessageDraft as SendMessageDraft
    from aiogram.methods import SendRichMessage as SendRichMessage
    from aiogram.methods import SendRichMessageDraft as SendRichMessageDraft
    from aiogram.methods import SendVoice as SendVoice
    from aiogram.methods import SetMessageReaction as SetMessageReaction
    from aiogram.methods import SetMyCommands as SetMyCommands
    from aiogram.methods import SetWebhook as SetWebhook
    from aiogram.methods import TelegramMethod as TelegramMethod
    from aiogram.types import BotCommand as BotCommand
    from aiogram.types import BotCommandScopeAllGroupChats as BotCommandScopeAllGroupChats
    from aiogram.types import BotCommandScopeAllPrivateChats as BotCommandScopeAllPrivateChats
    from aiogram.types import BufferedInputFile as BufferedInputFile
    from aiogram.types import InlineKeyboardButton as InlineKeyboardButton
    from aiogram.types import InlineKeyboardMarkup as InlineKeyboardMarkup
    from aiogram.types import InputMediaAudio as InputMediaAudio
    from aiogram.types import InputMediaDocument as InputMediaDocument
    from aiogram.types import InputMediaPhoto as InputMediaPhoto
    from aiogram.types import InputMediaUnion as InputMediaUnion
    from aiogram.types import InputMediaVideo as InputMediaVideo
    from aiogram.types import InputRichMessage as InputRichMessage
    from aiogram.types import LinkPreviewOptions as LinkPreviewOptions
    from aiogram.types import Message as Message
    from aiogram.types import MessageEntity as MessageEntity
    from aiogram.types import ReactionTypeEmoji as ReactionTypeEmoji
    from aiogram.types import ReplyParameters as ReplyParameters
    from aiogram.types import User as User
    from aiogram.utils.token import TokenValidationError as TokenValidationError

# Their modules name each other's types for a checker alone; aiogram tells them as it builds them.
_names = {"Default": Default} | {name: vars(aiogram.types)[name] for name in aiogram.types.__all__}
for _module in [module for name, module in sys.modules.items() if name.startswith("aiogram.types.")]:
    vars(_module).update(_names | vars(_module))
