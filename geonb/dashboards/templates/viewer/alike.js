// Tiles: a click chooses one; those most alike of all stand beside the map, and are framed on it.
const tilesOf = (viewer) => {
  const { facts, state, boxes } = viewer
  const tell = ([{ alike }, files]) => {
    viewer.alike = alike
    boxes.about.replaceChildren(
      h("div", {}, "The tile, and those most alike of all, with their distance. A click on one shows where it lies."),
      h("div", { class: "tiles" }, alike.map((one, rank) => tileCard(viewer, one, rank, files[rank]))),
      h("div", { class: "pale" }, facts.likeness.words.note ?? ""),
    )
  }
  const start = viewer.working(async () => {
    tell(await viewer.ask({ what: "alike", chosen: state.like }))
    viewer.map.repaint()
  })
  const choose = viewer.working(async (x, y) => {
    const grid = viewer.clickGrid()
    const [w, s, e, n] = grid.bounds
    const [dx, dy] = cellSize(grid).map((size) => size / 2)
    const cell = cellAt(grid, clamp(x, w + dx, e - dx), clamp(y, s + dy, n - dy)) // scenes reach a little beyond their tiles
    const chosen = [state.place, state.at[facts.likeness.dim], cell.row, cell.column]
    const answer = await viewer.ask({ what: "alike", chosen })
    if (!answer[0].alike.length) {
      boxes.about.innerHTML = "<i>Nothing there: outside the scene, or mostly no data.</i>"
      return
    }
    state.like = chosen
    state.chosen = cellAt(grid, x, y)
    if (state.top) state.top = facts.likeness.layer
    tell(answer)
    await viewer.refresh()
  })
  return { start, choose }
}
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
  const words = rank ? `${rank}: ${figure(far, viewer.layer(facts.likeness.layer))}` : "the tile"
  const card = button(picture, go, { class: "tile", title: "show where it lies" })
  card.append(h("b", {}, words), h("span", {}, label))
  return card
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
