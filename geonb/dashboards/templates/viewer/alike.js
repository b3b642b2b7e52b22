// Tiles: a click chooses one; those most alike of all stand beside the map, and are framed on it. Where they can be marked as right
// or wrong, those that are marked ask from then on; a region marks all tiles in it as right.
const tilesOf = (viewer) => {
  const { facts, state, boxes } = viewer
  const tell = ([{ alike }, files]) => {
    viewer.alike = alike
    const head = state.right.length ? `Most like the ${state.right.length} marked as right` +
      (state.wrong.length ? `, unlike the ${state.wrong.length} marked as wrong` : "") + ", with their score." : ALIKE_WORDS
    boxes.about.replaceChildren(
      h("div", {}, head),
      state.right.length + state.wrong.length ? h("div", { class: "row" }, button("forget marks", forget)) : "",
      h("div", { class: "tiles" }, alike.map((one, rank) => tileCard(viewer, one, rank, files[rank]))),
      h("div", { class: "pale" }, facts.likeness.words.note ?? ""),
    )
  }
  const ask = () => viewer.ask({ what: "alike", chosen: state.like, right: state.right, wrong: state.wrong })
  const again = viewer.working(async () => { // as it is marked now
    tell(await ask())
    if (state.top) state.top = state.right.length ? facts.likeness.marked : facts.likeness.layer
    await viewer.refresh()
  })
  const mark = (tiles, as) => { // what was marked so is not marked any more, if it is one
    const isOf = (some) => (one) => some.some((other) => String(other) === String(one))
    const undone = tiles.length === 1 && isOf(state[as])(tiles[0])
    for (const name of ["right", "wrong"]) state[name] = state[name].filter((one) => !isOf(tiles)(one))
    if (!undone) state[as] = [...state[as], ...tiles]
    return again()
  }
  const forget = () => {
    Object.assign(state, { right: [], wrong: [] })
    return again()
  }
  const markRegion = ({ points }) => {
    const grid = viewer.clickGrid()
    const cells = Array.from({ length: grid.shape[0] * grid.shape[1] }, (_, i) => i).filter((i) =>
      within(points, ...middleOf(cellBox({ box: grid.bounds, height: grid.shape[0], width: grid.shape[1] }, i))))
    const tiles = cells.slice(0, MOST_MARKED).map((i) =>
      [state.place, state.at[facts.likeness.dim], Math.floor(i / grid.shape[1]), i % grid.shape[1]])
    return tiles.length ? mark(tiles, "right") : null
  }
  const start = viewer.working(async () => {
    tell(await ask())
    viewer.map.repaint()
  })
  const choose = viewer.working(async (x, y) => {
    const grid = viewer.clickGrid()
    const [w, s, e, n] = grid.bounds
    const [dx, dy] = cellSize(grid).map((size) => size / 2)
    const cell = cellAt(grid, clamp(x, w + dx, e - dx), clamp(y, s + dy, n - dy)) // scenes reach a little beyond their tiles
    const chosen = [state.place, state.at[facts.likeness.dim], cell.row, cell.column]
    const answer = await viewer.ask({ what: "alike", chosen, right: [], wrong: [] })
    if (!answer[0].alike.length) {
      boxes.about.innerHTML = "<i>Nothing there: outside the scene, or mostly no data.</i>"
      return
    }
    Object.assign(state, { like: chosen, right: [], wrong: [] })
    state.chosen = cellAt(grid, x, y)
    if (state.top) state.top = facts.likeness.layer
    tell(answer)
    await viewer.refresh()
  })
  return { start, choose, mark, markRegion }
}
const ALIKE_WORDS = "The tile, and those most alike of all, with their distance. A click on one shows where it lies."
const MOST_MARKED = 500 // tiles of a region
const tileCard = (viewer, { chosen, far, label }, rank, file) => {
  const { facts, state } = viewer
  const address = () => URL.createObjectURL(new Blob([file], { type: "image/webp" }))
  const alt = `${rank ? `${rank}.` : "the tile"} ${label}`
  const picture = file?.byteLength ? h("img", { alt, src: address() }) : h("div", { class: "none" })
  picture.style.borderColor = rank ? ALIKE : TILE
  const go = () => {
    state.at[facts.likeness.dim] = chosen[1]
    viewer.goPlace(chosen[0])
  }
  const asks = state.right.length ? "marked" : "layer"
  const words = rank ? `${rank}: ${figure(far, viewer.layer(facts.likeness[asks]))}` : "the tile"
  const card = button(picture, go, { class: "tile", title: "show where it lies" })
  card.append(h("b", {}, words), h("span", {}, label))
  return facts.likeness.marked ? h("div", {}, card, marksOf(viewer, chosen, alt)) : card
}
const marksOf = ({ state, tiles }, chosen, alt) => { // right and wrong, pressed where it is marked so
  const one = (as, sign) => button(sign, () => tiles.mark([chosen], as), {
    class: "mark", "aria-label": `${alt} is ${as}`, title: `this one is ${as}`,
    "aria-pressed": String(state[as].some((other) => String(other) === String(chosen))),
  })
  return h("div", { class: "row" }, one("right", "✓"), one("wrong", "✗"))
}
const tilesHere = ({ facts, state, alike }) => { // what frames them, the chosen one last: it lies on top
  if (!state.like) return []
  const found = alike.map(({ chosen: [place, time, row, column] }, rank) => {
    const elsewhere = time !== state.at[facts.likeness.dim]
    if (place !== state.place || (elsewhere && rank)) return null
    const box = tileBox(facts.places[place], facts.places[place].grids[facts.likeness.grid], row, column)
    return { box, colour: rank ? ALIKE : TILE, words: rank ? String(rank) : "", elsewhere }
  })
  return found.filter(Boolean).reverse()
}
