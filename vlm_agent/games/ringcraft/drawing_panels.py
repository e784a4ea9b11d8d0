"""The panels round the viewport: stone frame, side panel with its tabs, chat box and level-up dialog."""

from __future__ import annotations

import pygame

from vlm_agent.games.ringcraft.icons import ICON_PX, icon_picture
from vlm_agent.games.ringcraft.layout import LAYOUT, Rect
from vlm_agent.games.ringcraft.rules import RULES, level_of
from vlm_agent.games.ringcraft.skins import PanelSkin, bevel, panel_skin, slab
from vlm_agent.games.ringcraft.sprites import Colour, blend, item_picture, tint
from vlm_agent.games.ringcraft.state import State
from vlm_agent.games.ringcraft.text import Lettering

YELLOW: Colour = (255, 255, 0)
WHITE: Colour = (255, 255, 255)
ORANGE: Colour = (255, 152, 31)

_ACTIVE_TAB: Colour = (150, 46, 34)
_SKILL_SIGNS = {
    "Strength": "shield",
    "Mining": "coal",
    "Smithing": "hammer",
    "Crafting": "gold_ring",
    "Cooking": "bread",
    "Fishing": "bucket",
    "Woodcutting": "logs",
    "Farming": "herb",
}


def box_of(rect: Rect) -> pygame.Rect:
    """Returns a layout rectangle as pygame's."""
    return pygame.Rect(rect.x, rect.y, rect.width, rect.height)


class Palette:
    """Everything of one skin and brightness that many panels share: colours, item pictures, lettering."""

    def __init__(self, panel: int, brightness: float, lettering: Lettering) -> None:
        """Makes the colours; pictures are made at their first use.

        Args:
            panel: Index of the panel skin.
            brightness: Factor on every colour but those of text.
            lettering: Where text is drawn.
        """
        base = panel_skin(panel)
        self.skin = PanelSkin(
            stone=tint(base.stone, brightness),
            panel=tint(base.panel, brightness),
            parchment=tint(base.parchment, brightness),
            ink=base.ink,
            title=base.title,
        )
        self.lettering = lettering
        self._brightness = brightness
        self._pictures: dict[tuple[str, str, bool], pygame.Surface] = {}

    def item(self, key: str, is_dim: bool = False) -> pygame.Surface:
        """Returns an item's picture, or a dimmed one."""
        return self._picture("item", key, is_dim)

    def icon(self, name: str, is_dim: bool = False) -> pygame.Surface:
        """Returns an icon's picture, or a dimmed one."""
        return self._picture("icon", name, is_dim)

    def _picture(self, family: str, name: str, is_dim: bool) -> pygame.Surface:
        found = self._pictures.get((family, name, is_dim))
        if found is None:
            found = item_picture(name) if family == "item" else icon_picture(name)
            factor = min(1.0, self._brightness) * (0.45 if is_dim else 1.0)
            level = round(255 * factor)
            found.fill((level, level, level, 130 if is_dim else 255), special_flags=pygame.BLEND_RGBA_MULT)
            self._pictures[(family, name, is_dim)] = found
        return found


def paint_frame(target: pygame.Surface, palette: Palette) -> None:
    """Paints the stone that surrounds everything; the panels are painted over it."""
    stone = palette.skin.stone
    slab(target, target.get_rect(), stone)
    bevel(target, box_of(LAYOUT.viewport).inflate(6, 6), tint(stone, 0.8), raised=False)
    bevel(target, box_of(LAYOUT.chatbox).inflate(6, 6), tint(stone, 0.8), raised=False)
    for rects in (LAYOUT.tabs, LAYOUT.chat_tabs):
        for rect in rects.values():
            slab(target, box_of(rect), tint(stone, 0.84))


def side_key(state: State) -> tuple[object, ...]:
    """Returns a value that is equal for states whose side panel looks the same."""
    if state.tab == "inventory":
        items = tuple(stack.item if stack else "" for stack in state.inventory)
        return state.tab, items, state.selected_slot
    return state.tab, level_of(state.crafting_xp) if state.tab == "stats" else 0, state.crafting_xp


def paint_side(target: pygame.Surface, state: State, palette: Palette) -> None:
    """Paints the side panel and the rows of tabs above and below it."""
    skin = palette.skin
    panel = box_of(LAYOUT.side_panel)
    slab(target, panel.inflate(8, 8), tint(skin.stone, 0.9))
    slab(target, panel, skin.panel, raised=False)
    for name, rect in LAYOUT.tabs.items():
        _paint_tab(target, name, box_of(rect), name == state.tab, palette)
    if state.tab == "inventory":
        _paint_inventory(target, state, palette)
    elif state.tab == "stats":
        _paint_skills(target, state, palette)
    else:
        palette.lettering.write(
            target, state.tab.capitalize(), (panel.centerx, panel.top + 14), skin.title, 22, anchor="centre"
        )
        large = pygame.transform.scale(palette.icon(state.tab), (ICON_PX * 4, ICON_PX * 4))
        target.blit(large, large.get_rect(center=panel.center))


def _paint_tab(target: pygame.Surface, name: str, box: pygame.Rect, is_active: bool, palette: Palette) -> None:
    stone = palette.skin.stone
    slab(target, box, _ACTIVE_TAB if is_active else tint(stone, 0.84), raised=not is_active)
    icon = palette.icon(name)
    target.blit(icon, icon.get_rect(center=box.center))


def _paint_inventory(target: pygame.Surface, state: State, palette: Palette) -> None:
    for slot, (stack, rect) in enumerate(zip(state.inventory, LAYOUT.inventory, strict=True)):
        if stack is None:
            continue
        target.blit(palette.item(stack.item), (rect.x, rect.y))
        if slot == state.selected_slot:
            pygame.draw.rect(target, WHITE, box_of(rect).inflate(2, 2), 2, border_radius=4)


def _paint_skills(target: pygame.Surface, state: State, palette: Palette) -> None:
    for name, rect in zip(RULES.skills, LAYOUT.skills, strict=False):
        box = box_of(rect)
        slab(target, box, tint(palette.skin.panel, 1.2))
        sign = pygame.transform.smoothscale(palette.item(_SKILL_SIGNS[name]), (27, 24))
        target.blit(sign, sign.get_rect(midleft=(box.left + 3, box.centery)))
        level = level_of(state.crafting_xp) if name == "Crafting" else 1
        palette.lettering.write(target, str(level), (box.right - 8, box.top + 8), YELLOW, 18, anchor="right")
    last = LAYOUT.skills[len(RULES.skills)]
    text = f"Crafting XP: {state.crafting_xp:,}"
    palette.lettering.write(target, text, (LAYOUT.side_panel.centre[0], last.bottom + 12), WHITE, 17, anchor="centre")


def chat_key(state: State) -> tuple[object, ...]:
    """Returns a value that is equal for states whose chat box looks the same."""
    if state.mode == "levelup":
        return "levelup", state.new_level
    return tuple(state.chat[-len(LAYOUT.chat_lines) :])


def paint_chat(target: pygame.Surface, state: State, palette: Palette) -> None:
    """Paints the chat box, or the level-up dialog over it, and the row of chat tabs."""
    skin = palette.skin
    slab(target, box_of(LAYOUT.chatbox), skin.parchment, raised=False)
    if state.mode == "levelup":
        _paint_dialog(target, state, palette)
    else:
        lines = state.chat[-len(LAYOUT.chat_lines) :]
        for line, rect in zip(reversed(lines), reversed(LAYOUT.chat_lines), strict=False):
            picture = palette.lettering.line(line, skin.ink, 17, shadow=False)
            target.blit(picture, (rect.x, rect.y), (0, 0, rect.width, rect.height))
    for name, rect in LAYOUT.chat_tabs.items():
        box = box_of(rect)
        slab(target, box, tint(skin.stone, 1.3 if name == "all" else 0.84), raised=name != "all")
        label = palette.lettering.line(name.capitalize(), WHITE, 16)
        target.blit(label, label.get_rect(center=(box.centerx, box.centery + 1)))


def _paint_dialog(target: pygame.Surface, state: State, palette: Palette) -> None:
    skin, write = palette.skin, palette.lettering.line
    box = box_of(LAYOUT.dialog)
    pygame.draw.rect(target, tint(skin.parchment, 0.7), box.inflate(-12, -12), 2)
    medal = (box.left + 46, box.centery)
    pygame.draw.circle(target, tint(skin.parchment, 0.7), medal, 34)
    pygame.draw.circle(target, blend(skin.parchment, WHITE, 0.5), medal, 31)
    ring = pygame.transform.smoothscale(palette.item("sapphire_ring"), (54, 48))
    target.blit(ring, ring.get_rect(center=medal))
    lines = (
        ("Congratulations, you just advanced a Crafting level!", (140, 0, 0), LAYOUT.dialog_title),
        (f"Your Crafting level is now {state.new_level}.", (0, 0, 0), LAYOUT.dialog_text),
        ("Click here to continue", (0, 0, 220), LAYOUT.dialog_continue),
    )
    for text, colour, rect in lines:
        picture = write(text, colour, 18, shadow=False)
        target.blit(picture, picture.get_rect(center=rect.centre))
    pygame.draw.rect(target, (0, 0, 220), box_of(LAYOUT.dialog_continue).inflate(6, 4), 1, border_radius=4)
