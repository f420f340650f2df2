"""The words that people say to the hub, as every platform that has a menu of commands offers them."""

from collections.abc import Mapping
from types import MappingProxyType

# In the order of the menu; a language that is not there is offered the first.
MENU: Mapping[str, Mapping[str, str]] = MappingProxyType(
    {
        "": {
            "new": "Begin a new conversation",
            "stop": "Stop the running answer",
            "retry": "Answer the last message again",
            "undo": "Take back the last exchange",
            "agent": "Show or choose who answers",
            "model": "Show or choose the model",
            "usage": "Show what was spent",
            "why": "Tell how the last answer came about",
            "voice": "Say the last answer aloud",
            "use": "Use a tool yourself",
            "compact": "Put the conversation in short",
            "approvals": "Show what waits for your leave",
            "forget": "Have everything removed that was said here",
            "help": "Show what I understand",
        },
        "de": {
            "new": "Ein neues Gespräch beginnen",
            "stop": "Die laufende Antwort abbrechen",
            "retry": "Die letzte Nachricht noch einmal beantworten",
            "undo": "Den letzten Wechsel zurücknehmen",
            "agent": "Zeigen oder wählen, wer antwortet",
            "model": "Das Modell zeigen oder wählen",
            "usage": "Zeigen, was verbraucht wurde",
            "why": "Sagen, wie die letzte Antwort entstand",
            "voice": "Die letzte Antwort vorlesen",
            "use": "Selbst ein Werkzeug benutzen",
            "compact": "Das Gespräch zusammenfassen",
            "approvals": "Zeigen, was auf deine Erlaubnis wartet",
            "forget": "Alles hier Gesagte entfernen lassen",
            "help": "Zeigen, was ich verstehe",
        },
        "es": {
            "new": "Empezar una conversación nueva",
            "stop": "Detener la respuesta en curso",
            "retry": "Responder otra vez al último mensaje",
            "undo": "Retirar el último intercambio",
            "agent": "Ver o elegir quién responde",
            "model": "Ver o elegir el modelo",
            "usage": "Ver lo que se ha gastado",
            "why": "Explicar cómo surgió la última respuesta",
            "voice": "Leer en voz alta la última respuesta",
            "use": "Usar una herramienta uno mismo",
            "compact": "Resumir la conversación",
            "approvals": "Ver lo que espera tu permiso",
            "forget": "Eliminar todo lo dicho aquí",
            "help": "Ver lo que entiendo",
        },
        "fr": {
            "new": "Commencer une nouvelle conversation",
            "stop": "Arrêter la réponse en cours",
            "retry": "Répondre encore au dernier message",
            "undo": "Reprendre le dernier échange",
            "agent": "Voir ou choisir qui répond",
            "model": "Voir ou choisir le modèle",
            "usage": "Voir ce qui a été dépensé",
            "why": "Dire comment la dernière réponse est née",
            "voice": "Lire la dernière réponse à voix haute",
            "use": "Se servir soi-même d'un outil",
            "compact": "Résumer la conversation",
            "approvals": "Voir ce qui attend votre accord",
            "forget": "Faire supprimer tout ce qui a été dit ici",
            "help": "Voir ce que je comprends",
        },
    }
)
# Every word to the hub, offered or not.
_OTHERS = (
    *("start", "fork", "expand", "approve", "deny", "limits", "people", "invite", "grant", "revoke", "block"),
    *("unblock", "link", "unlink", "whoami", "run"),
)
COMMANDS = frozenset(f"/{name}" for name in (*MENU[""], *_OTHERS))
