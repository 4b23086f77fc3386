"""Tags are found, configured by those who may, and every change is kept with who made it."""

import httpx

from make import R
from penstock.model.access import Role
from serve.plant import NOW_US, Plant, T
from serve.test_readings import get, pages

OTHER = "metz/oven/zone-1/temperature"


async def test_tags_page_in_byte_order_and_by_prefix(plant: Plant, client: httpx.AsyncClient) -> None:
    paths = ["lyon/a/x", "lyon/a-b/x", "lyon/A/x", "lyon/a_b/x", "lyon/ab/x"]
    await plant.store(*(R(path, NOW_US, 1.0) for path in [*paths, OTHER]))
    assert [tag["tag"] for tag in await pages(client, "/v1/tags", limit=2)] == sorted([*paths, OTHER])
    found = await pages(client, "/v1/tags", prefix="lyon/a_", limit=1)  # _ is itself, not any letter
    assert [tag["tag"] for tag in found] == ["lyon/a_b/x"]


async def test_a_change_is_audited_and_reaches_the_worker(plant: Plant, client: httpx.AsyncClient) -> None:
    await plant.store(R(T, NOW_US, 1.0))
    wish = {"unit": "Cel", "limits": {"h": 80.5}, "criticality": "critical", "expected_interval_s": 5}
    answer = await client.put(f"/v1/tags/{T}", json=wish)
    assert answer.status_code == 200, answer.text
    tag = await get(client, f"/v1/tags/{T}")
    assert answer.json() == tag
    assert (tag["unit"], tag["limits"]["h"], tag["criticality"], tag["holds"]) == ("Cel", 80.5, "critical", "value")
    assert (await client.put(f"/v1/tags/{T}", json=tag)).json()["version"] == tag["version"]  # nothing new
    (change,) = (await get(client, "/v1/changes", tag=T))["items"]
    assert (change["who"], change["tag"], change["after"]["unit"]) == ("ada", T, "Cel")
    await plant.store(R(T, NOW_US + 1, 1.0, unit="K"))
    assert (await get(client, "/v1/quarantine"))["items"][0]["tag"] == T


async def test_a_change_of_what_was_changed_meanwhile_is_refused(plant: Plant, client: httpx.AsyncClient) -> None:
    await plant.store(R(T, NOW_US, 1.0))
    old = await get(client, f"/v1/tags/{T}")
    assert (await client.put(f"/v1/tags/{T}", json={"unit": "Cel"})).status_code == 200
    answer = await client.put(f"/v1/tags/{T}", json=old | {"unit": "K"})
    assert (answer.status_code, answer.json()["code"]) == (409, "changed_meanwhile")


async def test_what_cannot_be_meant_is_refused(plant: Plant, client: httpx.AsyncClient) -> None:
    await plant.store(R(T, NOW_US, 1.0))
    for wish, status in [
        ({"limits": {"h": 1.0, "hh": 0.5}}, 422),
        ({"unit": "a\0b"}, 400),
        ({"colour": "red"}, 400),
        ({"on_delay_s": -1}, 400),
        ({"criticality": "vital"}, 400),
        ([], 400),
    ]:
        answer = await client.put(f"/v1/tags/{T}", json=wish)
        assert answer.status_code == status, (wish, answer.text)
        assert answer.headers["content-type"] == "application/problem+json"
    assert (await client.put("/v1/tags/lyon/no/such", json={})).status_code == 404


async def test_another_sites_data_is_not_there_on_any_route(plant: Plant) -> None:
    await plant.store(R(T, NOW_US, 1.0), R(OTHER, NOW_US, 2.0))
    await plant.store(R(OTHER, NOW_US, 3.0), R(OTHER, NOW_US - 1, state="ON"))  # a conflict, and one for quarantine
    batch_id = await plant.store(R(OTHER, NOW_US + 1, 2.0))
    await plant.serving.live.look()
    async with plant.client(Role.OPERATOR, ("lyon",)) as client:
        for path in ("readings", "rollups", "series", "window", "balance"):
            assert (await client.get(f"/v1/{path}", params={"tag": OTHER})).status_code == 404, path
        for path in (f"tags/{OTHER}", "conflicts?tag=" + OTHER, "alarms?tag=" + OTHER, f"trace/{batch_id}"):
            assert (await client.get(f"/v1/{path}")).status_code == 404, path
        assert (await client.put(f"/v1/tags/{OTHER}", json={})).status_code == 404
        assert (await client.post("/v1/quarantine/1/redrive")).status_code == 404
        for path in ("tags", "latest", "quarantine", "conflicts"):
            answer = await client.get(f"/v1/{path}")
            assert "metz" not in answer.text, path
        assert [tag["tag"] for tag in (await get(client, "/v1/latest"))["items"]] == [T]
        assert (await get(client, "/v1/latest", tag=OTHER))["items"] == []
        assert (await get(client, "/v1/plant"))["sites"] == ["lyon"]
    async with plant.client(Role.ADMIN) as client:  # the control: it is all there
        assert (await get(client, "/v1/plant"))["sites"] == ["lyon", "metz"]
        assert (
            len((await get(client, "/v1/conflicts"))["items"])
            == len((await get(client, "/v1/quarantine"))["items"])
            == 1
        )


async def test_roles_do_what_they_are_for(plant: Plant) -> None:
    await plant.store(R(T, NOW_US, 1.0))
    may = {
        Role.WRITER: (403, 403, 403, 403),
        Role.VIEWER: (200, 403, 403, 403),
        Role.OPERATOR: (200, 200, 403, 403),
        Role.AUDITOR: (200, 403, 200, 403),
        Role.ADMIN: (200, 200, 200, 200),
    }
    for role, expected in may.items():
        async with plant.client(role) as client:
            answers = (
                await client.get("/v1/readings", params={"tag": T}),
                await client.put(f"/v1/tags/{T}", json={}),
                await client.get("/v1/changes"),
                await client.get("/v1/keys"),
            )
        assert tuple(answer.status_code for answer in answers) == expected, role


async def test_keys_are_made_listed_and_revoked(plant: Plant, client: httpx.AsyncClient) -> None:
    made = await client.post("/v1/keys", json={"name": "line 3", "role": "writer", "sites": ["lyon"], "rate": 5})
    assert made.status_code == 201, made.text
    key = made.json()
    assert key["key"].startswith(f"pk_{key['id']}_")
    (listed,) = (await get(client, "/v1/keys"))["items"]
    assert (listed["name"], listed["rate"], listed["created_by"], listed["revoked_at"]) == ("line 3", 5.0, "ada", None)
    assert "key" not in listed
    revoked = await client.delete(f"/v1/keys/{key['id']}")
    assert revoked.json()["revoked_by"] == "ada"
    assert (await client.delete("/v1/keys/nosuch")).status_code == 404
    async with plant.client(Role.ADMIN, ("metz",)) as other:
        wish = {"name": "x", "role": "viewer", "sites": ["*"]}
        assert (await other.post("/v1/keys", json=wish)).status_code == 403
        assert (await other.delete(f"/v1/keys/{key['id']}")).status_code == 404
        assert (await get(other, "/v1/keys"))["items"] == []
