"""The peer: FastAPI, SQLAlchemy (async) and asyncpg on Slipway's own tables.

It has its own environment (requirements/bench.txt) and runs under uvicorn with uvloop. It does what
such services usually do: ORM objects with their relations joined, a COUNT for each total, OFFSET
for pages, pydantic models for answers, a lookup of the API key for each request, and a Redis
message for each build. It reads `DATABASE_URL` (postgresql+asyncpg://…) and `REDIS_URL`, and stores
contexts under `PEER_FOLDER`.
"""

import hashlib
import json
import os
import uuid
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

from fastapi import Depends, FastAPI, File, Form, Header, HTTPException, UploadFile
from pydantic import BaseModel, ConfigDict
from redis.asyncio import Redis
from sqlalchemy import ForeignKey, func, or_, select, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import (
    DeclarativeBase,
    Mapped,
    defer,
    joinedload,
    mapped_column,
    relationship,
)

engine = create_async_engine(os.environ["DATABASE_URL"], pool_size=10, max_overflow=0)
sessions = async_sessionmaker(engine, expire_on_commit=False)
folder = Path(os.environ["PEER_FOLDER"])
queue = Redis.from_url(os.environ["REDIS_URL"])
app = FastAPI()


class Base(DeclarativeBase):
    type_annotation_map = {dict[str, Any]: JSONB}


class User(Base):
    __tablename__ = "accounts_user"
    id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    username: Mapped[str]
    is_active: Mapped[bool]
    created_at: Mapped[datetime]


class ApiKey(Base):
    __tablename__ = "accounts_apikey"
    id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    user_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("accounts_user.id"))
    digest: Mapped[str]
    revoked_at: Mapped[datetime | None]
    user: Mapped[User] = relationship(lazy="joined")


class Build(Base):
    __tablename__ = "builds_build"
    id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    image_id: Mapped[uuid.UUID]
    owner_id: Mapped[uuid.UUID]
    label: Mapped[str]
    number: Mapped[int]
    dockerfile: Mapped[str]
    status: Mapped[str]
    step: Mapped[int]
    steps: Mapped[int]
    queued_at: Mapped[datetime]
    started_at: Mapped[datetime | None]
    ended_at: Mapped[datetime | None]
    digest: Mapped[str]
    failure_text: Mapped[str]


class Image(Base):
    __tablename__ = "images_image"
    id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    owner_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("accounts_user.id"))
    current_id: Mapped[uuid.UUID | None] = mapped_column(ForeignKey("builds_build.id"))
    name: Mapped[str]
    tag: Mapped[str]
    readme: Mapped[str]
    public: Mapped[bool]
    protected: Mapped[bool]
    logo_id: Mapped[uuid.UUID | None]
    patch_version: Mapped[str]
    created_at: Mapped[datetime]
    owner: Mapped[User] = relationship(lazy="joined")
    current: Mapped[Build | None] = relationship(lazy="joined")


class Answer(BaseModel):
    model_config = ConfigDict(from_attributes=True)


class UserAnswer(Answer):
    username: str
    user_id: uuid.UUID
    created_at: datetime
    logo_id: uuid.UUID | None = None
    logo: str | None = None


class StandingAnswer(Answer):
    number: int
    status: str
    step: int
    steps: int


class ImageAnswer(Answer):
    image_id: uuid.UUID
    name: str
    readme: str
    tag: str
    public: bool
    status: str
    created_at: datetime
    build_started_at: datetime | None
    build_completed_at: datetime | None
    user: UserAnswer
    logo_id: uuid.UUID | None
    patch_version: str
    logo: str | None = None
    protected: bool
    build: StandingAnswer
    digest: str | None

    @classmethod
    def of(cls, image: Image) -> "ImageAnswer":
        build = image.current
        if build is None:
            raise ValueError
        words = {"queued": "pending build", "succeeded": "built and pushed"}
        failed = build.status in ("failed", "cancelled", "lost")
        return cls(
            image_id=image.id,
            name=image.name,
            readme=image.readme,
            tag=image.tag,
            public=image.public,
            status=f"error: {build.failure_text}"
            if failed
            else words.get(build.status, "building"),
            created_at=image.created_at,
            build_started_at=build.started_at,
            build_completed_at=build.ended_at if build.digest else None,
            user=UserAnswer(
                username=image.owner.username,
                user_id=image.owner.id,
                created_at=image.owner.created_at,
            ),
            logo_id=image.logo_id,
            patch_version=image.patch_version,
            protected=image.protected,
            build=StandingAnswer.model_validate(build),
            digest=build.digest or None,
        )


class PageAnswer(Answer):
    total: int
    page: int
    limit: int
    items: list[ImageAnswer]
    cord_refs: None = None


async def session() -> AsyncIterator[AsyncSession]:
    async with sessions() as made:
        yield made


Session = Annotated[AsyncSession, Depends(session)]


async def caller(db: Session, authorization: Annotated[str, Header()] = "") -> User:
    key = authorization.rpartition(" ")[2]
    try:
        identity = uuid.UUID(key[4:36])
    except ValueError:
        raise HTTPException(401) from None
    found = await db.get(ApiKey, identity)
    digest = hashlib.sha256(key.encode()).hexdigest()
    if found is None or found.revoked_at or found.digest != digest or not found.user.is_active:
        raise HTTPException(401)
    return found.user


Caller = Annotated[User, Depends(caller)]
WITHOUT_TEXTS = joinedload(Image.current).options(defer(Build.dockerfile))


def literal(part: str) -> str:
    escaped = part.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    return f"%{escaped}%"


@app.get("/images/", response_model=PageAnswer)
async def list_images(
    db: Session,
    user: Caller,
    include_public: bool = False,
    name: str | None = None,
    tag: str | None = None,
    page: int = 0,
    limit: int = 25,
) -> PageAnswer:
    query = select(Image).options(WITHOUT_TEXTS)
    own = Image.owner_id == user.id
    query = query.where(or_(Image.public, own) if include_public else own)
    if name:
        query = query.where(Image.name.ilike(literal(name)))
    if tag:
        query = query.where(Image.tag.ilike(literal(tag)))
    ids = query.with_only_columns(Image.id).order_by(None).subquery()
    total = await db.scalar(select(func.count()).select_from(ids)) or 0
    query = query.order_by(Image.created_at.desc()).offset(page * limit).limit(limit)
    rows = (await db.execute(query)).unique().scalars().all()
    return PageAnswer(
        total=total, page=page, limit=limit, items=[ImageAnswer.of(each) for each in rows]
    )


@app.get("/images/{ref:path}", response_model=ImageAnswer)
async def get_image(db: Session, user: Caller, ref: str) -> ImageAnswer:
    query = select(Image).options(WITHOUT_TEXTS).where(or_(Image.public, Image.owner_id == user.id))
    try:
        query = query.where(Image.id == uuid.UUID(ref))
    except ValueError:
        owner, _, rest = ref.partition("/")
        name, _, tag = rest.rpartition(":")
        query = query.where(
            Image.owner_id.in_(select(User.id).where(func.lower(User.username) == owner.lower())),
            func.lower(Image.name) == name.lower(),
            func.lower(Image.tag) == tag.lower(),
        )
    found = (await db.execute(query)).unique().scalars().first()
    if found is None:
        raise HTTPException(404)
    return ImageAnswer.of(found)


BUILD = text(
    "INSERT INTO builds_build (id, image_id, owner_id, label, number, dockerfile, build_args,"
    " context_key, context_sha256, context_bytes, status, queued_at) VALUES (:id, :image_id,"
    " :owner_id, :label, 1, :dockerfile, '{}', :key, :sha256, :size, 'queued', :at)"
)
IMAGE = text(
    "INSERT INTO images_image (id, reference_id, owner_id, name, tag, readme, public,"
    " patch_version, created_at, ended_at, state, current_id) VALUES (:image_id, :image_id,"
    " :owner_id, :name, :tag, :readme, :public, 'initial', :at, :at, 'queued', :id)"
)


@app.post("/images/", response_model=ImageAnswer, status_code=202)
async def create_image(
    db: Session,
    user: Caller,
    build_context: Annotated[UploadFile, File()],
    username: Annotated[str, Form()],
    name: Annotated[str, Form()],
    tag: Annotated[str, Form()],
    dockerfile: Annotated[str, Form()],
    readme: Annotated[str, Form()] = "",
    public: Annotated[bool, Form()] = False,
) -> ImageAnswer:
    if username != user.username:
        raise HTTPException(401)
    identity = uuid.uuid5(uuid.NAMESPACE_OID, f"{username}/{name}:{tag}".lower())
    if await db.get(Image, identity) is not None:
        raise HTTPException(409)
    since = text("now() - interval '24 hours'")
    used = select(func.count()).where(Build.owner_id == user.id, Build.queued_at > since)
    if (await db.scalar(used) or 0) > 1_000_000:
        raise HTTPException(429)
    content = await build_context.read()
    key = f"contexts/{uuid.uuid4().hex}.zip"
    (folder / Path(key).name).write_bytes(content)
    values = {
        "id": uuid.uuid4(),
        "image_id": identity,
        "owner_id": user.id,
        "label": f"{username}/{name}:{tag}",
        "dockerfile": dockerfile,
        "key": key,
        "sha256": hashlib.sha256(content).hexdigest(),
        "size": len(content),
        "at": datetime.now(UTC),
        "name": name,
        "tag": tag,
        "readme": readme,
        "public": public,
    }
    try:
        await db.execute(BUILD, {k: values[k] for k in values if f":{k}" in BUILD.text})
        await db.execute(IMAGE, {k: values[k] for k in values if f":{k}" in IMAGE.text})
        await db.commit()
    except IntegrityError:
        raise HTTPException(409) from None
    await queue.rpush("peer-builds", json.dumps({"build_id": str(values["id"])}))
    return await get_image(db, user, str(identity))
